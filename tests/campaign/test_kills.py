"""Processes killed at random moments: nothing is lost or doubled, what goes on ends the same."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from damage import copy
from forked import ROOT, TRAIN, Outcome, Process, run
from hypothesis import strategies as st
from inputs import Campaign
from oracle import judge, sound_results
from test_data_files import META

KIND = "commands that are killed, and go on"
KILLS = "  processes killed"

# Methods that keep most between epochs: averaged prompts, gates, rejected directions, a start.
METHODS = (
    ("coop", "erm"), ("cocoop", "kgcoop"), ("maple", "promptsrc"), ("ivlp", "prograd"),
    ("vpt", "prometar"), ("ivlp", "gram"),
)  # fmt: skip
LONG = "OPTIM.MAX_EPOCH 4 DATALOADER.TRAIN_X.BATCH_SIZE 3 TRAIN.CHECKPOINT_FREQ 1".split()


def contents(run_folder: Path) -> dict[str, bytes]:
    """Return what two runs of one configuration have in common to the bit."""
    kept = {"metrics.jsonl": (run_folder / "metrics.jsonl").read_bytes()}
    for file in sorted(run_folder.glob("checkpoints/*/prompts.safetensors")):
        kept[str(file.relative_to(run_folder))] = file.read_bytes()
    results = sound_results(run_folder)
    for changing in ("seconds", "peak_memory", "environment", "finished", "processor_seconds"):
        results.pop(changing, None)
    results.pop("costs", None)
    kept["results.json"] = json.dumps(results, sort_keys=True).encode()
    return kept


def same(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    assert found.keys() == wanted.keys(), f"files {sorted(found)} instead of {sorted(wanted)}"
    for name, content in wanted.items():
        assert found[name] == content, f"{name} is not that of the undisturbed run"


def kill_and_go_on(
    campaign: Campaign, tool: str, words: tuple, moments: list[float], folder: Path, how: int
) -> Outcome:
    """Start a command again and again, end it after so many seconds each time; then let it end."""
    for moment in moments:
        process = Process(tool, *words, cwd=folder)
        outcome = process.wait(moment)
        if outcome is None:
            os.killpg(process.pid, how)
            campaign.counts[KILLS] += 1
            outcome = process.wait()
            if outcome is None:
                process.kill()
                raise AssertionError(f"it did not end: {process.wait()}")
        else:
            judge(outcome)
            break
        if how != signal.SIGKILL:
            judge(outcome, (0, 130, 143))
    outcome = run(tool, *words, cwd=folder)
    judge(outcome, (0,))
    return outcome


moments = st.lists(st.integers(1, 100), min_size=1, max_size=3)
signals = st.sampled_from([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])


@pytest.mark.parametrize("method", METHODS, ids="-".join)
def test_trainings(campaign: Campaign, method, tmp_path_factory):
    learner, trainer = method
    place = tmp_path_factory.mktemp("undisturbed")
    file = ("TRAINER.GRAM.FILE", "unigram_tiny", "PROMPT.IVLP.PROMPT_DEPTH_TEXT", "1")
    words = (
        *(*TRAIN, *LONG, "PROMPT.NAME", learner, "TRAINER.NAME", trainer, "--output-dir", "run"),
        *(file if trainer == "gram" else ()),
    )
    undisturbed = run("train", *words, cwd=place)
    assert undisturbed.code == 0, undisturbed
    wanted = contents(place / "run")

    def check(case: tuple, folder: Path) -> None:
        shares, how = case
        seconds = [share / 100 * undisturbed.seconds for share in shares]
        kill_and_go_on(campaign, "train", (*words, "--resume"), seconds, folder, how)
        same(contents(folder / "run"), wanted)

    campaign.run(st.tuples(moments, signals), check, inputs=16)


def test_a_shared_cache(campaign: Campaign, tmp_path_factory):
    """Runs that are killed while they write features; what they leave serves the next ones."""
    place = tmp_path_factory.mktemp("cached")
    words = (*TRAIN, "TEST.MAX_IMAGES", "80", "CACHE.DIR", "cache", "--output-dir", "run")
    undisturbed = run("train", *words, cwd=place)
    wanted = contents(place / "run")

    def check(shares: list[int], folder: Path) -> None:
        seconds = [share / 100 * undisturbed.seconds for share in shares]
        kill_and_go_on(campaign, "train", (*words, "--resume"), seconds, folder, signal.SIGKILL)
        same(contents(folder / "run"), wanted)
        again = run("train", *words, "OUTPUT_DIR", "again", cwd=folder)
        judge(again, (0,))

    campaign.run(moments, check, inputs=16)


def test_meta_training(campaign: Campaign, tmp_path_factory):
    from test_data_files import captions

    place = tmp_path_factory.mktemp("meta_undisturbed")
    copy(captions.__wrapped__(tmp_path_factory), place / "pairs")
    words = (*META, "META.OUTER.STEPS", "6", "META.OUTER.VAL_FREQ", "2")
    undisturbed = run("meta_train", *words, cwd=place)
    assert undisturbed.code == 0, undisturbed
    wanted = (place / "meta/gram.safetensors").read_bytes()

    def check(shares: list[int], folder: Path) -> None:
        copy(place / "pairs", folder / "pairs")
        seconds = [share / 100 * undisturbed.seconds for share in shares]
        kill_and_go_on(
            campaign, "meta_train", (*words, "--resume"), seconds, folder, signal.SIGKILL
        )
        assert (folder / "meta/gram.safetensors").read_bytes() == wanted

    campaign.run(moments, check, inputs=16)


SWEEP = (
    *("few_shot", "--config-file", str(ROOT / "configs/coop/tiny.yaml"), "--datasets", "shapes"),
    *"patterns --seeds 1 2 --shots 1 2 --jobs 2 --output-dir out".split(),
    *"OPTIM.MAX_EPOCH 2 OPTIM.WARMUP_EPOCH 0 TEST.MAX_IMAGES 8".split(),
)


@pytest.mark.parametrize(("engine", "count"), [("local", 12), ("ray", 3), ("slurm", 3)])
def test_sweeps(campaign: Campaign, engine, count, tmp_path_factory):
    """The driver with all workers is killed, or single workers; every cell ends once, the same."""
    if engine != "local":
        pytest.importorskip({"ray": "ray", "slurm": "submitit"}[engine])
    how = {"slurm": ("--slurm", "cluster=local"), "local": ("--threads", "1")}.get(engine, ())
    words = (*SWEEP[:1], "--engine", engine, *how, *SWEEP[1:])
    place = tmp_path_factory.mktemp("swept")
    undisturbed = run("sweep", *SWEEP, "--threads", "1", cwd=place, timeout=300)
    assert undisturbed.code == 0, undisturbed
    cells = sorted(file.parent.relative_to(place) for file in place.rglob("results.json"))
    wanted = {cell: contents(place / cell) for cell in cells}
    assert len(cells) == 8

    def check(case: tuple[list[int], bool], folder: Path) -> None:
        shares, workers_only = case
        for share in shares:
            process = Process("sweep", *words, cwd=folder)
            outcome = process.wait(share / 100 * undisturbed.seconds)
            if outcome is None and workers_only and engine == "local":
                for worker in children(process.pid):
                    os.kill(worker, signal.SIGKILL)
                    campaign.counts[KILLS] += 1
                outcome = process.wait(300)
                judge(outcome, (0, 1))
            elif outcome is None:
                process.kill()
                campaign.counts[KILLS] += 1
                process.wait()
            else:
                break
        outcome = run("sweep", *words, cwd=folder, timeout=300)
        judge(outcome, (0,))
        found = sorted(file.parent.relative_to(folder) for file in folder.rglob("results.json"))
        assert found == cells, f"cells {found}"
        for cell in cells:
            same(contents(folder / cell), wanted[cell])

    campaign.run(st.tuples(moments, st.booleans()), check, inputs=count)


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that do a worker's job."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(text.rpartition(")")[2].split()[1]) == pid and b"spawn_main" in command:
            found.append(int(stat.parent.name))
    return found


def test_downloads(campaign: Campaign, tmp_path_factory):
    """A download that is killed goes on, or begins anew, and ends in the same files."""
    import io
    import tarfile
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for i in range(40):
            picture = io.BytesIO()
            pixels = noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(picture, "jpeg", quality=95)
            entry = tarfile.TarInfo(f"2750/Forest/Forest_{i}.jpg")
            entry.size = len(picture.getvalue())
            archive.addfile(entry, io.BytesIO(picture.getvalue()))
    content = file.getvalue()

    class Slow(BaseHTTPRequestHandler):
        """Sends the archive in small pieces, from where it is asked to."""

        def log_message(self, *words):
            pass

        def do_GET(self):
            wanted = self.headers["Range"]
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", '"one"')
            if wanted:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            self.end_headers()
            try:
                for at in range(start, len(content), 1 << 14):
                    self.wfile.write(content[at : at + (1 << 14)])
                    time.sleep(0.02)
            except OSError:
                pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/EuroSAT.tar"
    words = ("eurosat", "--root", "data", "--url", url)
    place = tmp_path_factory.mktemp("downloaded")
    env = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    undisturbed = run("download", *words, cwd=place, env=env)
    wanted = pictures(place)

    def check(shares: list[int], folder: Path) -> None:
        for share in shares:
            process = Process("download", *words, cwd=folder, env=env)
            if process.wait(share / 100 * undisturbed.seconds) is None:
                process.kill()
                campaign.counts[KILLS] += 1
                process.wait()
        outcome = run("download", *words, cwd=folder, env=env)
        assert outcome.code == undisturbed.code and "Traceback" not in outcome.err, outcome
        assert pictures(folder) == wanted, "other pictures than the undisturbed download"
        left = [path for path in folder.rglob("*") if "partial" in path.name]
        assert not left, f"left behind: {left}"

    try:
        campaign.run(moments, check, inputs=24)
    finally:
        server.shutdown()


def pictures(place: Path) -> dict[str, bytes]:
    return {str(f.relative_to(place)): f.read_bytes() for f in sorted(place.rglob("*.jpg"))}
