"""Damaged files of runs, to every command that reads them."""

import re
from pathlib import Path

import pytest
from damage import apply, copy, damages
from forked import ROOT, TRAIN, run
from hypothesis import strategies as st
from inputs import Campaign
from oracle import judge, listing, refused, sound_results, sound_run, unchanged
from PIL import Image

KIND = "damaged files of runs"


@pytest.fixture(scope="module")
def interrupted_run(tmp_path_factory) -> Path:
    """A run that died between its last epoch and its results."""
    place = tmp_path_factory.mktemp("interrupted")

    def die_before_results() -> None:
        import os

        from softprompt.core.engine import results

        results.write = lambda *_: os._exit(9)

    words = ("OPTIM.MAX_EPOCH", "2", "TRAIN.CHECKPOINT_FREQ", "1")
    command = (*TRAIN, "--output-dir", "run", *words)
    outcome = run("train", *command, cwd=place, before=die_before_results)
    assert outcome.code == 9, outcome
    assert (place / "run/checkpoints/epoch-2/resume.pt").is_file()
    return place / "run"


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_resume(campaign: Campaign, interrupted_run):
    def check(case: tuple, folder: Path) -> None:
        name, damage = case
        copied = copy(interrupted_run, folder / "run")
        apply(copied / name, damage)
        before = listing(folder)
        outcome = run("train", "--resume", "run", cwd=folder)
        judge(outcome)
        if refused(outcome):
            for own in ("run/config.yaml", "run/log.txt"):  # where it says why it ended
                before[own] = listing(folder).get(own)
            unchanged(before, folder)
        else:
            sound_run(copied)

    cases = st.tuples(st.sampled_from(files(interrupted_run)), damages())
    campaign.run(cases, check, inputs=120)


def test_evaluate(campaign: Campaign, finished_run):
    def check(case: tuple, folder: Path) -> None:
        name, damage = case
        copied = copy(finished_run, folder / "run")
        apply(copied / name, damage)
        before = listing(folder)
        outcome = run(
            "train", "--eval-only", "--model-dir", "run", "TEST.MAX_IMAGES", "8", cwd=folder
        )
        judge(outcome)
        if refused(outcome):
            unchanged(before, folder)
        else:
            sound_results(next(copied.glob("eval/*")))

    read = [name for name in files(finished_run) if "log" not in name and "tensorboard" not in name]
    campaign.run(st.tuples(st.sampled_from(read), damages()), check, inputs=90)


def test_predict(campaign: Campaign, finished_run):
    def check(case: tuple, folder: Path) -> None:
        name, damage = case
        copied = copy(finished_run, folder / "run")
        Image.new("RGB", (40, 30), (200, 20, 20)).save(folder / "a.png")
        apply(copied / name, damage)
        before = listing(folder)
        outcome = run("predict", "run", "a.png", "--json", cwd=folder)
        judge(outcome)
        assert "NaN" not in outcome.out, outcome
        unchanged(before, folder)

    read = [name for name in files(finished_run) if name.endswith(("safetensors", "yaml"))]
    campaign.run(st.tuples(st.sampled_from(read), damages()), check, inputs=90)


FORMATS = ("text", "markdown", "latex", "csv", "html")


def test_report(campaign: Campaign, finished_run):
    """A report names the run that it leaves out."""

    def check(case: tuple, folder: Path) -> None:
        damage, form = case
        copy(finished_run, folder / "out/few_shot/shapes/tiny/coop/shots_1/seed_1")
        copied = copy(finished_run, folder / "out/few_shot/shapes/tiny/coop/shots_1/seed_2")
        apply(copied / "results.json", damage)
        outcome = run("report", "out", "--format", form, "--output", "report", cwd=folder)
        judge(outcome, (0, 1))
        text = (folder / "report").read_text()
        if outcome.code:
            assert "seed_2/results.json" in text.replace("\\_", "_").replace("\\", "") and (
                "seed_2/results.json" in outcome.err
            ), f"it does not name what it leaves out: {text[:2000]}"
        shown = re.sub(r"<script.*?</script>|data:[^\"]*", "", text, flags=re.S)
        assert not re.search(r"\bnan\b", shown, re.I), f"nan in {shown[:2000]}"

    campaign.run(st.tuples(damages(), st.sampled_from(FORMATS)), check, inputs=90)


def test_import_of_damaged_checkpoints(campaign: Campaign, tmp_path_factory):
    """An official checkpoint, damaged."""
    import torch

    place = tmp_path_factory.mktemp("official")
    vectors = {"ctx": torch.randn(4, 128), "token_prefix": torch.zeros(10, 1, 128)}
    official = {"state_dict": vectors, "epoch": 5, "optimizer": None}
    torch.save(official, place / "model.pth.tar-5")
    legacy = place / "legacy"
    torch.save(official, legacy, _use_new_zipfile_serialization=False)
    config = str(ROOT / "configs/coop/tiny.yaml")

    def check(case: tuple, folder: Path) -> None:
        damage, old = case
        file = folder / "prompt_learner" / "model.pth.tar-5"
        file.parent.mkdir()
        file.write_bytes((legacy if old else place / "model.pth.tar-5").read_bytes())
        apply(file, damage)
        before = listing(folder)
        words = ("--trainer", "CoOp", "--config-file", config, "--output-dir", "run")
        outcome = run("import_coop", ".", *words, cwd=folder)
        judge(outcome)
        if refused(outcome):
            unchanged(before, folder)

    campaign.run(st.tuples(damages(), st.booleans()), check, inputs=60)
