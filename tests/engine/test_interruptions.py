"""What ends a training in the middle: signals, full disks, removed folders, a second writer."""

import errno
import json
import logging
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from softprompt.core.base import leases
from softprompt.core.base.errors import UserError
from softprompt.core.base.files import DiskFull
from softprompt.core.base.signals import Terminated
from softprompt.core.data.batches import Batches
from softprompt.core.data.dataset import Item
from softprompt.core.engine import checkpoint, loop, recorder
from softprompt.core.engine.loop import fit
from softprompt.core.engine.recorder import open_truncated
from softprompt.core.engine.run_folder import WRITER, FolderInUse, sole_writer
from softprompt.core.engine.tensorboard import TensorBoard

EPOCHS, BATCHES = 2, 3


def jittered(image: torch.Tensor) -> torch.Tensor:
    """Augment a picture by random draws."""
    return image + 0.1 * torch.randn_like(image)


@pytest.fixture
def training(clip, names, make_model, make_trainer):
    """Train a small CLIP's prompts into a folder; the same each time."""

    def read(path: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(int(path))
        return torch.randn(3, 32, 32, generator=generator)

    def training(folder: Path, method: str = "erm", learner: str = "coop", **how) -> object:
        folder.mkdir(exist_ok=True)
        items = [Item(str(number), number % len(names)) for number in range(5 * BATCHES)]
        batches = Batches(items, read, jittered, batch_size=5, seed=1)
        model = make_model(learner, clip)
        trainer = make_trainer(method, model, epochs=EPOCHS, lr=how.pop("lr", 0.01))
        header = {"learner": learner, "trainer": method, "classnames": list(names)}
        header |= {"backbone": {"name": "small"}, "config": {}}
        fit(trainer, batches, folder=folder, seed=1, meta=header, **how)
        return trainer

    return training


def left_in(folder: Path) -> dict[str, bytes]:
    """Return what a training's last epoch and record hold."""
    prompts = folder / "checkpoints" / f"epoch-{EPOCHS}" / checkpoint.PROMPTS
    return {"prompts": prompts.read_bytes(), "metrics": (folder / "metrics.jsonl").read_bytes()}


def signal_after(steps: int, monkeypatch, sent=signal.SIGTERM) -> None:
    """Send this process a signal while it takes that step."""
    check, count = loop.check_terms, iter(range(1, 1000))

    def check_and_send(*arguments):
        if next(count) == steps:
            os.kill(os.getpid(), sent)
        return check(*arguments)

    monkeypatch.setattr(loop, "check_terms", check_and_send)


@pytest.fixture(scope="module")
def undisturbed():
    """What trainings leave that nothing interrupts, each trained once."""
    return {}


@pytest.fixture
def whole(training, undisturbed, tmp_path):
    def whole(*method: str) -> dict[str, bytes]:
        if method not in undisturbed:
            training(tmp_path / "whole", *method)
            undisturbed[method] = left_in(tmp_path / "whole")
        return undisturbed[method]

    return whole


METHODS = [
    ("erm", "coop"),
    ("prometar", "coop"),
    ("promptsrc", "ivlp"),
    ("gram", "coop"),
    ("prograd", "cocoop"),
]


@pytest.mark.parametrize(
    ("method", "learner", "steps"),
    [*(pair + (2,) for pair in METHODS), ("erm", "coop", BATCHES), ("erm", "coop", BATCHES + 2)],
)
def test_a_signal_saves_the_step_and_goes_on_to_the_bit(
    method, learner, steps, training, whole, tmp_path, monkeypatch
):
    cut = tmp_path / "cut"
    with monkeypatch.context() as patched, pytest.raises(Terminated) as ended:
        signal_after(steps, patched)
        training(cut, method, learner)
    assert ended.value.code == 143
    said = str(ended.value)
    assert said.startswith("SIGTERM ") and f"saved, --resume {cut} goes on from there" in said
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    training(cut, method, learner)
    assert left_in(cut) == whole(method, learner)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")
def test_a_clusters_warning_is_such_a_signal(training, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(Terminated, match="SIGUSR1 in epoch 1"):
        signal_after(2, patched, signal.SIGUSR1)
        training(tmp_path)
    assert checkpoint.resume_state(tmp_path / "checkpoints")[:2] == (0, 2)


@pytest.mark.parametrize(("method", "learner"), [METHODS[0], METHODS[2]])
def test_checkpoints_within_an_epoch_change_nothing(
    method, learner, training, whole, tmp_path, monkeypatch
):
    cut = tmp_path / "cut"
    save, count = loop.checkpoint.save, iter(range(1, 100))

    def cut_off(*arguments):
        save(*arguments)
        if next(count) == 4:  # after 2 batches, the epoch, and the first batch of the next one
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop.checkpoint, "save", cut_off)
        training(cut, method, learner, save_every=1)
    assert checkpoint.resume_state(cut / "checkpoints")[:2] == (1, 1)
    training(cut, method, learner, save_every=1)
    assert left_in(cut) == whole(method, learner)


def test_a_last_step_that_diverges_is_named_and_not_saved(training, tmp_path, monkeypatch):
    last = EPOCHS * BATCHES
    check, count = loop.check_terms, iter(range(1, 1000))

    def check_and_spoil(trainer, *arguments):
        if next(count) == last:
            with torch.no_grad():
                trainer.model.learner.context[0, 0] = torch.nan
        return check(trainer, *arguments)

    monkeypatch.setattr(loop, "check_terms", check_and_spoil)
    says = (
        f"the trained tensor 'context' is not finite after the step in epoch {EPOCHS}, batch "
        f"{BATCHES}; the last good epoch is saved, {tmp_path}/checkpoints/epoch-{EPOCHS - 1}; "
    )
    with pytest.raises(UserError, match=says):
        training(tmp_path)
    assert [epoch for epoch, _ in checkpoint.epochs(tmp_path / "checkpoints")] == [EPOCHS - 1]


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        (1, r"none is saved; a smaller"),
        (BATCHES, r".*checkpoints/epoch-1 has led to it, and no epoch before is saved; a smaller"),
        (BATCHES + 1, r"the last good epoch is saved, .*checkpoints/epoch-1; a smaller"),
    ],
)
def test_the_last_good_epoch_is_one_that_a_step_was_taken_from(
    spoilt, says, training, tmp_path, monkeypatch
):
    """Prompts may be finite, and so large that nothing else is."""
    check, count = loop.check_terms, iter(range(1, 1000))

    def check_and_spoil(trainer, *arguments):
        if next(count) == spoilt:
            with torch.no_grad():
                trainer.model.learner.context.fill_(1e29)
        return check(trainer, *arguments)

    monkeypatch.setattr(loop, "check_terms", check_and_spoil)
    with pytest.raises(UserError, match=f"the term 'ce' is nan in epoch .*; {says}"):
        training(tmp_path)


def test_a_full_disk_ends_in_one_line_and_the_run_goes_on(training, whole, tmp_path, monkeypatch):
    write, count = Path.write_bytes, iter(range(1, 1000))

    def full(file, content):
        if next(count) == 4:  # the state of the second epoch
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        return write(file, content)

    with monkeypatch.context() as patched, pytest.raises(DiskFull, match="go on with --resume"):
        patched.setattr(Path, "write_bytes", full)
        training(tmp_path)
    training(tmp_path)
    assert left_in(tmp_path) == whole("erm", "coop")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_record_on_a_full_disk_is_one_line(training, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "open_truncated", lambda *_: open("/dev/full", "w"))
    with pytest.raises(DiskFull, match=r"no space left .*go on with --resume"):
        training(tmp_path)


def test_a_run_goes_on_without_tensorboard(training, whole, tmp_path, caplog):
    (tmp_path / "tensorboard").write_text("mine")
    training(tmp_path)
    (said,) = [message for message in caplog.messages if "TensorBoard" in message]
    assert f"TensorBoard's files in {tmp_path / 'tensorboard'} cannot be written" in said
    assert "the run goes on without them" in said
    assert left_in(tmp_path) == whole("erm", "coop")


def test_a_folder_of_tensorboard_may_be_removed(tmp_path, caplog, capfd):
    board = TensorBoard(tmp_path / "tensorboard")
    board.add("scalar", "loss", 1.0, 0)
    board.flush()
    shutil.rmtree(tmp_path / "tensorboard")
    for step in range(3):
        board.add("scalar", "loss", 1.0, step)
        board.flush()
    board.close()
    assert caplog.text.count("the run goes on without them") == 1
    assert capfd.readouterr().err == ""


def test_checkpoints_may_be_removed(training, whole, tmp_path, monkeypatch):
    save, count = loop.checkpoint.save, iter(range(1, 100))

    def remove(folder, *rest):
        if next(count) == 2:
            shutil.rmtree(folder)
        save(folder, *rest)

    monkeypatch.setattr(loop.checkpoint, "save", remove)
    training(tmp_path)
    assert left_in(tmp_path) == whole("erm", "coop")


def test_a_lost_folder_is_one_line(training, tmp_path):
    run = tmp_path / "run"
    with sole_writer(run) as confirm:
        confirm()
        shutil.rmtree(run)
        with pytest.raises(UserError, match=f"{run} was removed, or taken over"):
            training(run, confirm=confirm)
    assert not (run / "checkpoints").exists()


def test_a_run_has_one_writer(tmp_path):
    run = tmp_path / "run"
    with sole_writer(run):
        says = f"{run} is being written by process {os.getpid()} on this machine; wait for it"
        with pytest.raises(FolderInUse, match=says), sole_writer(run):
            raise AssertionError
    assert not run.exists()  # nothing was written


def test_a_writer_on_another_machine_is_named_and_its_death_frees_the_folder(tmp_path):
    (tmp_path / WRITER).mkdir()
    claim = tmp_path / WRITER / "1.json"
    claim.write_text(json.dumps({"host": "node-07-abc", "pid": 12}))
    with pytest.raises(FolderInUse, match="process 12 on node-07;"), sole_writer(tmp_path):
        raise AssertionError
    os.utime(claim, (0, 0))
    with sole_writer(tmp_path) as confirm:
        confirm()
        claim.with_name("7.json").write_text(json.dumps({"host": "another", "pid": 1}))
        with pytest.raises(UserError, match="taken over by another process"):
            confirm()


def test_what_a_killed_writer_leaves_is_free(tmp_path):
    """The kernel has released its lock; the files are still there."""
    (tmp_path / WRITER).mkdir()
    claim = {"host": leases.HOST, "pid": 1}
    (tmp_path / WRITER / "1.json").write_text(json.dumps(claim))
    (tmp_path / "config.yaml").write_text("SEED: 1\n")
    with sole_writer(tmp_path):
        pass
    assert [place.name for place in tmp_path.iterdir()] == ["config.yaml"]


def lines(*steps: int) -> bytes:
    return b"".join(json.dumps({"step": step, "ce": 1.0}).encode() + b"\n" for step in steps)


RECORDS = {
    "more": (lines(0, 1, 2, 3), lines(0, 1, 2), 0),
    "half a line": (lines(0, 1, 2) + b'{"step": 3, "c', lines(0, 1, 2), 0),
    "fewer": (lines(0), lines(0), 2),
    "cut in a line": (lines(0, 1)[:-5], lines(0), 2),
    "zeros": (lines(0) + bytes(100) + b"\n" + lines(2), lines(0, 2), 1),
    "no text": (b"\xff\xfe\n" + lines(0, 1, 2), lines(0, 1, 2), 0),
    "twice": (lines(0, 1, 1, 2), lines(0, 1, 2), 0),
    "none": (b"", b"", 3),
}


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_that_lost_lines_goes_on(record, tmp_path, caplog):
    content, kept, missing = RECORDS[record]
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(content)
    with open_truncated(file, 3) as opened:
        opened.write("next\n")
    assert file.read_bytes() == kept + b"next\n"
    said = f"{file} has lost {missing} of the 3 steps before this one"
    assert [message for message in caplog.messages if said in message] == caplog.messages
    assert bool(caplog.messages) == bool(missing)


def test_a_log_on_a_full_disk_does_not_stop_a_run(tmp_path, caplog, capfd):
    from softprompt.core.base.log import log_to_file, logger

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "log.txt").symlink_to("/dev/full")
    handler = log_to_file(tmp_path)
    with caplog.at_level(logging.INFO, "softprompt"):
        logger.info("one")
        logger.info("two")
    handler.close()
    assert [m for m in caplog.messages if "gets no further lines: No space" in m]
    assert caplog.messages.count("two") == 1 and "Traceback" not in capfd.readouterr().err


def test_a_program_that_sets_up_no_logging_has_a_log(root, tmp_path, monkeypatch):
    from softprompt.core.base.log import logger
    from softprompt.core.config.load import load_config
    from softprompt.core.engine.recorder import open_run

    cfg = load_config(str(root / "configs/coop/tiny.yaml"))
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    logger.manager._clear_cache()
    with open_run(cfg, tmp_path / "run"):
        logger.info("one line")
    assert "one line" in (tmp_path / "run" / "log.txt").read_text()
    assert logger.level == logging.NOTSET
    with pytest.raises(DiskFull, match=f"on the disk of {tmp_path} .*--resume"):
        with open_run(cfg, tmp_path / "full"):
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))
    assert sorted(place.name for place in (tmp_path / "run").iterdir()) == [
        "config.yaml",
        "log.txt",
    ]


def test_a_run_that_another_process_finished_meanwhile_is_told(root, tmp_path):
    from softprompt.core.config.load import load_config
    from softprompt.core.engine.run_folder import check_unfinished

    cfg = load_config(str(root / "configs/coop/tiny.yaml"))
    check_unfinished(cfg, tmp_path, resume=False)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="holds another run"):
        check_unfinished(cfg, tmp_path, resume=False)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UserError, match="has been finished by another process just now"):
        check_unfinished(cfg, tmp_path, resume=True)


def test_a_finished_training_needs_no_state_to_make_lost_results(training, tmp_path):
    first = training(tmp_path / "run")
    checkpoint.finish(tmp_path / "run" / "checkpoints")
    assert not list((tmp_path / "run").rglob(checkpoint.RESUME))
    again = training(tmp_path / "run")
    assert torch.equal(again.model.learner.context, first.model.learner.context)
    assert "the results of this run were lost" in again.warnings[0]
    (tmp_path / "run" / "metrics.jsonl").unlink()  # as in an imported run
    with pytest.raises(UserError, match="nothing to resume their training from"):
        training(tmp_path / "run")
