# shellcheck shell=bash
# What the protocol tools share; sourced by them, not run.

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname "$tools")
python=${PYTHON:-python}
trap 'exit 130' INT

common_help='A DATASET is a file in configs/datasets by its name (eurosat), or a file of yours by its path.
Any configuration key can follow after "--", as KEY VALUE; such runs get a folder of their own.

From the environment:
  SEEDS   the seeds, "1 2 3" unless set
  SHOTS   images a class to train on
  ROOT    the folder that holds the datasets; else DATASET.ROOT of the configuration
  OUTPUT  where the runs are written, "output" unless set
  CACHE   a folder of features that all runs share (CACHE.DIR); else none
  PYTHON  the interpreter, "python" unless set

A run is skipped if its results.json is there, and goes on if it was cut off. If one fails, the
others are run, and the exit code is 1. The table in the end is tools/report.py of these runs.'

# start NUMBER ARGUMENT...: set config, datasets (NUMBER of them at least), pairs and method
start() {
    local least=$1 tag place i
    shift
    case ${1-} in -h | --help)
        awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
        printf '\n%s\n' "$common_help"
        exit 0 ;;
    esac
    datasets=() pairs=() failed=() runs=()
    config=$(find_file "${1-}" "$repository/${1-}") ||
        stop "no config file '${1-}'; the first word is one such as configs/coop/vit_b16.yaml"
    shift
    while (($#)) && [[ $1 != -- ]]; do
        place=$(find_file "$1" "$repository/configs/datasets/$1.yaml" "$repository/$1") ||
            stop "no dataset '$1' (KEY VALUE pairs follow after --); there are $(known_datasets)"
        datasets+=("$place")
        shift
    done
    ((${#datasets[@]} >= least)) || stop "$least dataset(s) are needed after CONFIG; see --help"
    pairs=("${@:2}")
    ((${#pairs[@]} % 2 == 0)) || stop "what follows -- are KEY VALUE pairs, but ${pairs[*]} has a word left over"

    # METHOD/CONFIG, and the settings that were changed, so that no other run counts as this one.
    # Where features are kept changes no result.
    tag=
    for ((i = 0; i < ${#pairs[@]}; i += 2)); do
        [[ ${pairs[i]} == CACHE.* ]] || tag+=,${pairs[i]}=${pairs[i + 1]}
    done
    tag=$(printf %s "$tag" | tr -c '[:alnum:]._,=+-' _)
    ((${#tag} <= 120)) || tag=${tag:0:100}-$(printf %s "$tag" | cksum | cut -d ' ' -f 1)
    method=$(basename "$(dirname "$config")")/$(basename "$config" .yaml)$tag
    grep -q '^ *NAME: zeroshot' "$config" && untrained=yes
    output=${OUTPUT:-output}
}

# find_file PLACE...: print the first of these files that is there, as an absolute path
find_file() {
    local place
    for place in "$@"; do
        [[ -f $place ]] && echo "$(cd "$(dirname "$place")" && pwd)/$(basename "$place")" && return
    done
    return 1
}

known_datasets() {
    (cd "$repository/configs/datasets" && printf '%s ' *.yaml | sed 's/\.yaml//g')
}

stop() {
    echo "error: $*" >&2
    exit 2
}

# train PROTOCOL DATASET SHOTS SEED KEY VALUE...: one run, whose folder is then in $folder
train() {
    local dataset=$2 how
    folder=$output/$1/$method/$(basename "$dataset" .yaml)/shots_$3/seed_$4
    how=(--resume "$folder")
    [[ $untrained ]] && how=(--eval-only --output-dir "$folder")
    attempt "$folder" "$dataset" "$4" "${how[@]}" DATASET.NUM_SHOTS "$3" "${@:5}"
}

# attempt FOLDER DATASET SEED ARGUMENT...: run tools/train.py, unless FOLDER holds its results
attempt() {
    runs+=("$1")
    if [[ -f $1/results.json ]]; then
        echo "finished already: $1"
        return
    fi
    echo "--- $1"
    "$python" "$tools/train.py" --config-file "$config" --dataset-config-file "$2" --seed "$3" \
        ${ROOT:+--root "$ROOT"} ${CACHE:+CACHE.DIR "$CACHE"} "${@:4}" "${pairs[@]}" || {
        failed+=("$1")
        return 1
    }
}

# transfer: train on all classes of the first dataset, evaluate on all classes of each other one
transfer() {
    local all=(DATASET.SUBSAMPLE_CLASSES all TEST.CLASSES '(all,)') of shots seed target place
    for shots in ${SHOTS:-16}; do
        for seed in ${SEEDS:-1 2 3}; do
            train transfer "${datasets[0]}" "$shots" "$seed" "${all[@]}"
            of=(--model-dir "$folder")
            [[ $untrained ]] && of=()
            for target in "${datasets[@]:1}"; do
                place=$folder/eval/$(basename "$target" .yaml)
                if [[ -f $folder/results.json ]]; then
                    attempt "$place" "$target" "$seed" --eval-only "${of[@]}" \
                        --output-dir "$place" "${all[@]}"
                else
                    runs+=("$place")
                fi
            done
        done
    done
}

# finish: print the table and the runs that failed
finish() {
    echo
    "$python" "$tools/report.py" "${runs[@]}" || exit 1
    ((${#failed[@]})) || exit 0
    {
        printf '\n%s of %s runs failed:\n' ${#failed[@]} ${#runs[@]}
        printf '  %s\n' "${failed[@]}"
    } >&2
    exit 1
}
