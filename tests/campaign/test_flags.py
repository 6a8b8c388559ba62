"""Any word for any flag of any command: it does its work, or one line says what is wrong."""

import functools
import re
from pathlib import Path

import pytest
from damage import copy
from forked import ROOT, TRAIN, run
from hypothesis import strategies as st
from inputs import Campaign, arguments
from oracle import judge, listing, refused, unchanged
from PIL import Image

KIND = "flags and arguments"
CONFIG = str(ROOT / "configs/coop/tiny.yaml")
SHORT = "OPTIM.MAX_EPOCH 1 OPTIM.WARMUP_EPOCH 0 TEST.MAX_IMAGES 8".split()

# The quickest use of each command.
BASES: dict[str, tuple[str, ...]] = {
    "train": (*TRAIN, "--output-dir", "new"),
    "predict": ("run", "a.png"),
    "report": ("out",),
    "sweep": (
        *("few_shot", "--config-file", CONFIG, "--datasets", "shapes", "--output-dir", "new"),
        *("--seeds", "1", "--shots", "1", "--jobs", "1", "--dry-run", *SHORT),
    ),
    "catalogue": (),
    "clusters": ("pairs/captions.csv", "--cache", "cache"),
    "download": ("eurosat", "--root", "data", "--dry-run"),
    "import_coop": ("--config-file", CONFIG, "--config-only", "new.yaml"),
    "list_fewshot": ("--split", "split.json", "--shots", "1", "--seed", "1"),
    "matrix": ("--output-dir", "new", "--learners", "zeroshot", "--trainers", "erm", "--table"),
    "gram_controls": ("--output-dir", "new", "--table"),
    "meta_train": ("--config-file", str(ROOT / "configs/gram/meta_tiny.yaml"), "META.PAIRS.SOURCE",
                   "nope.csv", "--output-dir", "new"),
    "parity": (str(ROOT / "tests/golden/CoOp.json"),),
    "backbones": ("nope",),
    "benchmark": ("--output-dir", "new", "--size", "tiny", "--methods", "nope"),
    "pretrain_tiny": ("--steps", "0", "--output", "new.safetensors", "--pool", "8"),
}  # fmt: skip
COSTLY = {"clusters", "parity", "sweep", "predict", "train"}


@functools.cache
def flags(tool: str) -> tuple[str, ...]:
    help_text = run(tool, "--help", cwd=ROOT).out
    return tuple(sorted({*re.findall(r"--[a-z][a-z0-9_-]+", help_text)} - {"--help", "--debug"}))


@pytest.fixture(scope="module")
def stocked(tmp_path_factory, finished_run) -> Path:
    """A folder with what the commands read."""
    place = tmp_path_factory.mktemp("stocked") / "folder"
    copy(finished_run, place / "run")
    copy(finished_run, place / "out/few_shot/coop/tiny/shapes/shots_1/seed_1")
    Image.new("RGB", (30, 30), (9, 90, 200)).save(place / "a.png")
    (place / "split.json").write_text('{"train": [["a.png", 0, "x"]], "val": [], "test": []}')
    (place / "file").write_text("text")
    pairs = place / "pairs"
    pairs.mkdir()
    for i in range(12):  # too few, which it says after it has read them
        Image.new("RGB", (30, 30), (20 * i, 90, 200)).save(pairs / f"{i}.png")
    lines = [f"{i}.png,a picture of the thing number {i}\n" for i in range(12)]
    (pairs / "captions.csv").write_text("path,caption\n" + "".join(lines))
    return place


@st.composite
def uses(draw) -> tuple[str, list[str]]:
    """Draw a command with one more flag or word, one changed, or one missing."""
    tool = draw(st.sampled_from(sorted({*BASES, "train", "sweep", "report", "predict"})))
    words = list(BASES[tool])
    fixed = words.index("OPTIM.MAX_EPOCH") + 1 if "OPTIM.MAX_EPOCH" in words else -1
    word = draw(arguments | st.sampled_from(["run", "out", "a.png", "file", "file/x", "new", "."]))
    kind = draw(
        st.sampled_from(["flag", "flag", "flag", "bare", "word", "change", "drop", "twice"])
    )
    if kind == "flag":
        words += [draw(st.sampled_from(flags(tool) or ("--x",))), word]
    elif kind == "bare":
        words += [draw(st.sampled_from((*flags(tool), "--nope", "-x", "--")))]
    elif kind == "word" or not words:
        words.insert(draw(st.integers(0, len(words))), word)
    else:
        at = draw(st.integers(0, len(words) - 1).filter(lambda at: at != fixed))
        words[at : at + 1] = {"change": [word], "drop": [], "twice": [words[at]] * 2}[kind]
    return tool, words


def check_use(case: tuple[str, list[str]], folder: Path, stocked: Path) -> None:
    tool, words = case
    if tool == "pretrain_tiny" and ("--steps", "0") != tuple(words[:2]):
        return  # an hour of work
    if tool in ("gram_controls", "matrix") and "--table" not in words:
        return  # hours
    if "--workers" in words or "--jobs" in words[-2:] or "--threads" in words[-2:]:
        words = [re.sub(r"^\d{3,}$", "7", word) for word in words]
    place = copy(stocked, folder / "place")
    before = listing(place)
    outcome = run(tool, *words, cwd=place, timeout=90)
    judge(outcome, (0, 1, 2) if tool in ("matrix", "parity", "sweep", "download") else (0, 2))
    if refused(outcome) and tool not in ("predict", "clusters"):  # which keeps its features
        unchanged(before, place)
    assert not (place / "pwned").exists()


def test_any_use_of_any_command(campaign: Campaign, stocked):
    campaign.run(uses(), lambda case, folder: check_use(case, folder, stocked), inputs=330)
