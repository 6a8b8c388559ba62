# shellcheck shell=bash
# Arguments and environment of the protocol tools, handed to sweep.py; sourced by them, not run.

if [[ ${2-} == -h || ${2-} == --help ]]; then
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
    cat <<'END'

A DATASET is a file in configs/datasets by its name (eurosat), or a file of yours by its path.
Any configuration key can follow after "--", as KEY VALUE; such runs get a folder of their own.

From the environment:
  SEEDS   the seeds, "1 2 3" unless set
  SHOTS   images a class to train on
  ROOT    the folder that holds the datasets; else DATASET.ROOT of the configuration
  OUTPUT  where the runs are written, "output" unless set
  CACHE   a folder of features that all runs share (CACHE.DIR); else none
  JOBS    runs at a time, 1 unless set
  PYTHON  the interpreter, "python" unless set

A run is skipped if its results.json is there, and goes on if it was cut off. If one fails, the
others are run, and the exit code is 1. The table in the end is tools/report.py of these runs.
python tools/sweep.py does the same for several methods at once, on one machine or many.
END
    exit
fi
protocol=$1 config=${2-} datasets=()
shift "$(($# > 1 ? 2 : 1))"
while (($#)) && [[ $1 != -- ]]; do
    datasets+=("$1")
    shift
done
# Lists, split by hand: unquoted, a * in them would become the names of files.
IFS=$' ,\t\n' read -ra seeds -d '' <<<"${SEEDS:-1 2 3}" || true
IFS=$' ,\t\n' read -ra shots -d '' <<<"${SHOTS-}" || true
((${#shots[@]})) && shots=(--shots "${shots[@]}")
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/sweep.py" "$protocol" \
    --config-file "$config" --datasets "${datasets[@]}" --seeds "${seeds[@]}" "${shots[@]}" \
    ${ROOT:+--root "$ROOT"} ${CACHE:+--cache "$CACHE"} \
    --output-dir "${OUTPUT:-output}" --jobs "${JOBS:-1}" --threads "${OMP_NUM_THREADS:-0}" -- "${@:2}"
