import pytest
import torch
from safetensors.torch import save_file

from softprompt.core.base.errors import UserError
from softprompt.core.engine import checkpoint

PROMPTS = {"context": torch.arange(6.0).reshape(2, 3)}


def save(folder, epoch, **kwargs):
    checkpoint.save(folder, epoch, PROMPTS, {"learner": "coop"}, {"seconds": 1.0}, **kwargs)


def test_both_files_appear_together_and_replace_the_last(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    assert [place.name for place in tmp_path.iterdir()] == ["epoch-2"]
    assert {file.name for file in (tmp_path / "epoch-2").iterdir()} == {
        checkpoint.PROMPTS,
        checkpoint.RESUME,
    }
    epoch, prompts, state = checkpoint.resume_state(tmp_path)
    assert (epoch, state) == (2, {"seconds": 1.0})
    assert torch.equal(prompts["context"], PROMPTS["context"])


def test_kept_epochs_keep_their_prompts_alone(tmp_path):
    for epoch in range(1, 6):
        save(tmp_path, epoch, keep_every=2)
    assert [number for number, _ in checkpoint.epochs(tmp_path)] == [2, 4, 5]
    assert len(list(tmp_path.glob(f"*/{checkpoint.RESUME}"))) == 1


def test_a_half_written_checkpoint_is_ignored_and_removed(tmp_path):
    save(tmp_path, 1)
    partial = tmp_path / ".epoch-2.partial"
    partial.mkdir()
    (partial / checkpoint.PROMPTS).write_bytes(b"half")
    (tmp_path / "epoch-0").mkdir()
    assert checkpoint.resume_state(tmp_path)[0] == 1
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


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load_prompts(tmp_path / "a.safetensors")
    save_file(PROMPTS, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match="none of softprompt's prompts"):
        checkpoint.load_prompts(tmp_path / "b.safetensors")


def test_a_mismatch_names_the_tensor_and_both_shapes(tmp_path):
    learner = torch.nn.Module()
    learner.context = torch.nn.Parameter(torch.zeros(4, 3))
    with pytest.raises(UserError, match=r"context of shape \(2, 3\).*needs \(4, 3\)"):
        checkpoint.load_into(learner, PROMPTS, tmp_path)
