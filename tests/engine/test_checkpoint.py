"""Checkpoints: written in one step, found again, and what is said of damaged ones."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import DiskFull
from softprompt.core.engine import checkpoint

PROMPTS = {"context": torch.arange(6.0).reshape(2, 3)}
HEADER = {
    "learner": "coop",
    "trainer": "erm",
    "classnames": ["dog", "cat"],
    "backbone": {"name": "tiny"},
    "config": {},
}
STATE = {"trainer": {}, "optimizers": {}, "rng": torch.get_rng_state(), "seconds": 1.0}


def save(folder, epoch, **kwargs):
    checkpoint.save(folder, epoch, PROMPTS, HEADER, STATE, **kwargs)


def names_in(folder) -> list[str]:
    return sorted(place.name for place in folder.iterdir())


def test_both_files_appear_together_and_the_checkpoint_before_stays(tmp_path):
    for epoch in (1, 2, 3):
        save(tmp_path, epoch)
    assert names_in(tmp_path) == ["epoch-2", "epoch-3"]
    assert names_in(tmp_path / "epoch-3") == [checkpoint.PROMPTS, checkpoint.RESUME]
    saved = checkpoint.resume_state(tmp_path)
    assert (saved.epoch, saved.batch, saved.state["seconds"]) == (3, 0, 1.0)
    assert torch.equal(saved.prompts["context"], PROMPTS["context"])
    checkpoint.finish(tmp_path)
    assert [file.name for file in tmp_path.rglob("*")] == ["epoch-3", checkpoint.PROMPTS]


def test_kept_epochs_keep_their_prompts_alone(tmp_path):
    for epoch in range(1, 7):
        save(tmp_path, epoch, keep_every=2)
    assert [number for number, _ in checkpoint.epochs(tmp_path)] == [2, 4, 5, 6]
    assert len(list(tmp_path.glob(f"*/{checkpoint.RESUME}"))) == 2
    checkpoint.finish(tmp_path, keep_every=2)
    assert [number for number, _ in checkpoint.epochs(tmp_path)] == [2, 4, 6]
    assert not list(tmp_path.glob(f"*/{checkpoint.RESUME}"))


def test_checkpoints_within_an_epoch_are_for_resuming_alone(tmp_path):
    run, folder = tmp_path, tmp_path / "checkpoints"
    save(folder, 1)
    for batch in (5, 10, 15):
        save(folder, 1, batch=batch)
    assert names_in(folder) == ["epoch-1", "epoch-1-batch-10", "epoch-1-batch-15"]
    assert checkpoint.resume_state(folder)[:2] == (1, 15)
    assert checkpoint.find_prompts(run).parent.name == "epoch-1"
    save(folder, 2)
    assert names_in(folder) == ["epoch-1", "epoch-1-batch-15", "epoch-2"]
    assert checkpoint.resume_state(folder)[:2] == (2, 0)
    checkpoint.finish(folder)
    assert names_in(folder) == ["epoch-2"]


def test_a_half_written_checkpoint_is_ignored_and_removed(tmp_path):
    save(tmp_path, 1)
    partial = tmp_path / ".epoch-2.partial"
    partial.mkdir()
    (partial / checkpoint.PROMPTS).write_bytes(b"half")
    (tmp_path / "epoch-0").mkdir()
    assert checkpoint.resume_state(tmp_path).epoch == 1
    checkpoint.finish(tmp_path)
    assert [file.name for file in tmp_path.rglob("*")] == ["epoch-1", checkpoint.PROMPTS]


def test_the_latest_or_a_given_epoch_is_found(tmp_path):
    for epoch in (1, 2, 3):
        save(tmp_path / "checkpoints", epoch, keep_every=1)
    assert checkpoint.find_prompts(tmp_path).parent.name == "epoch-3"
    assert checkpoint.find_prompts(tmp_path, 2).parent.name == "epoch-2"
    with pytest.raises(UserError, match="no prompts of epoch 7.*1, 2, 3"):
        checkpoint.find_prompts(tmp_path, 7)
    with pytest.raises(UserError, match="no prompts in .*nothing"):
        checkpoint.find_prompts(tmp_path / "nothing")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def torch_file(content) -> object:
    return lambda file: torch.save(content, file)


DAMAGES = {
    "cut off": (checkpoint.RESUME, cut, "is damaged, or no file of a training"),
    "empty": (checkpoint.RESUME, lambda file: file.write_bytes(b""), "is damaged"),
    "text": (checkpoint.RESUME, lambda file: file.write_text("hello"), "is damaged"),
    "a list": (checkpoint.RESUME, torch_file([1, 2]), "it is list, not dict"),
    "no keys": (checkpoint.RESUME, torch_file({}), "it has no 'trainer'"),
    "seconds": (checkpoint.RESUME, torch_file({**STATE, "seconds": ""}), "'seconds' is str"),
    "prompts": (checkpoint.PROMPTS, cut, "cannot be read as a prompt file"),
    "gone": (checkpoint.PROMPTS, lambda file: file.write_bytes(b""), "cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, tmp_path, caplog):
    name, harm, says = DAMAGES[damage]
    save(tmp_path, 1)
    save(tmp_path, 2)
    harm(tmp_path / "epoch-2" / name)
    assert checkpoint.resume_state(tmp_path).epoch == 1
    (said,) = caplog.messages
    assert says in said and str(tmp_path / "epoch-2" / name) in said
    assert f"going on from {tmp_path / 'epoch-1'}, the checkpoint before" in said
    save(tmp_path, 2)  # the damaged one is replaced
    assert checkpoint.resume_state(tmp_path).epoch == 2


def test_without_one_before_it_is_said_what_to_delete(tmp_path):
    save(tmp_path, 1)
    cut(tmp_path / "epoch-1" / checkpoint.RESUME)
    with pytest.raises(UserError, match=f"damaged.*no checkpoint before it.*delete {tmp_path} "):
        checkpoint.resume_state(tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    save(tmp_path, 1)
    whole = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    def full(file, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    for calls in (0, 1):  # the prompts, or the state beside them
        write, left = Path.write_bytes, [None] * calls

        def write_some(file, content, write=write, left=left):
            return write(file, content) if left and left.pop() is None else full(file, content)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", write_some)
            with pytest.raises(DiskFull, match=r"no space left .* go on with --resume"):
                save(tmp_path, 2)
        assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == whole
    save(tmp_path, 2)
    assert checkpoint.resume_state(tmp_path).epoch == 2


def test_a_place_that_is_a_file_or_gone_is_one_line(tmp_path):
    (tmp_path / "checkpoints").write_text("mine")
    with pytest.raises(UserError, match=r"cannot write .*checkpoints: (Not a dir|File exists)"):
        save(tmp_path / "checkpoints", 1)
    assert (tmp_path / "checkpoints").read_text() == "mine"
    with pytest.raises(UserError, match="cannot write .*No such file"):
        save(tmp_path / "removed" / "checkpoints", 1)
    assert not (tmp_path / "removed").exists()


def prompt_file(folder: Path, header: object, tensors=PROMPTS) -> Path:
    file = folder / "prompts.safetensors"
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(tensors, file, metadata={"softprompt": text})
    return file


GOOD = {"format": 1, "epoch": 2, **HEADER}
HEADERS = {
    "no JSON": ("{", "its header is no JSON"),
    "deep": ("[" * 100_000, "its header is no JSON"),
    "a list": ([1], "it is list, not dict"),
    "null": (None, "none of softprompt's prompts"),
    "no format": ({"epoch": 1}, "it has no 'format'"),
    "format as text": (GOOD | {"format": "1"}, "its format is '1', not a number such as 1"),
    "the future": (GOOD | {"format": 2}, r"has format 2, .*needs a newer softprompt than 0\."),
    "no class names": (
        {k: v for k, v in GOOD.items() if k != "classnames"},
        "it has no 'classnames'",
    ),
    "class names": (GOOD | {"classnames": [1]}, "its 'classnames\\[0\\]' is int, not str"),
    "no backbone": (GOOD | {"backbone": {}}, "it has no 'backbone.name'"),
    "backbone": (GOOD | {"backbone": "tiny"}, "its 'backbone' is str, not dict"),
    "config": (GOOD | {"config": []}, "its 'config' is list, not dict"),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_header_of_another_shape_is_one_line(kind, tmp_path):
    header, says = HEADERS[kind]
    file = prompt_file(tmp_path, header)
    with pytest.raises(UserError, match=says) as raised:
        checkpoint.load_prompts(file)
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)
    assert checkpoint.load_prompts(prompt_file(tmp_path, GOOD))[1] == GOOD


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_prompts_that_are_not_finite_are_refused(value, tmp_path):
    file = prompt_file(tmp_path, GOOD, {"context": torch.tensor([[0.0, value]])})
    with pytest.raises(UserError, match="its 'context' is not finite everywhere"):
        checkpoint.load_prompts(file)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load_prompts(tmp_path / "a.safetensors")
    save_file(PROMPTS, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match="none of softprompt's prompts"):
        checkpoint.load_prompts(tmp_path / "b.safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load_prompts(tmp_path)


def test_a_mismatch_names_the_tensor_and_both_shapes(tmp_path):
    learner = torch.nn.Module()
    learner.context = torch.nn.Parameter(torch.zeros(4, 3))
    with pytest.raises(UserError, match=r"context of shape \(2, 3\).*needs \(4, 3\)"):
        checkpoint.load_into(learner, PROMPTS, tmp_path)


def test_a_run_of_version_0_1_has_one_checkpoint(tmp_path):
    """It kept the last one alone, and goes on."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    shutil.rmtree(tmp_path / "epoch-1")
    assert checkpoint.resume_state(tmp_path).epoch == 2
    save(tmp_path, 3)
    checkpoint.finish(tmp_path)
    assert names_in(tmp_path) == ["epoch-3"]
