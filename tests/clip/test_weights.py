"""Weight files in every form that CLIPs come in."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from softprompt.core.base.errors import UserError
from softprompt.core.clip.build import build_clip
from softprompt.core.clip.weights import load_weights, read_weights


class Archive(nn.Module):
    """Holds tensors under dotted names, as the module in OpenAI's archives does."""

    def forward(self, x: torch.Tensor):
        return x


def save_archive(weights, file):
    root = Archive()
    for name, value in weights.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, Archive())
            module = getattr(module, part)
        module.register_buffer(leaf, value)
    torch.jit.script(root).save(str(file))


def save_openai(weights, file):
    half = {name: value.half() for name, value in weights.items()}
    sizes = {"input_resolution": 48, "context_length": 32, "vocab_size": 49408}
    save_archive({**half, **{name: torch.tensor(size) for name, size in sizes.items()}}, file)


FORMS = {
    "archive.pt": save_openai,
    "plain.pt": torch.save,
    "legacy.pt": lambda weights, file: torch.save(
        weights, file, _use_new_zipfile_serialization=False
    ),
    "weights.safetensors": save_file,
    "open_clip.pt": lambda weights, file: torch.save(
        {
            "epoch": 3,
            "name": "run",
            "state_dict": {f"module.{name}": value for name, value in weights.items()},
        },
        file,
    ),
}


@pytest.fixture(scope="module")
def weights():
    generator = torch.Generator().manual_seed(5)
    values = build_clip("tiny", "").model.state_dict()
    # What fp16 holds exactly, since OpenAI's archives hold that.
    return {
        name: (torch.randn(value.shape, generator=generator) * 0.1).half().float()
        for name, value in values.items()
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_weight_files_are_loaded_in_every_form(form, weights, tmp_path):
    file = tmp_path / form
    FORMS[form](weights, file)
    clip = build_clip("tiny", str(file))
    assert clip.weights == str(file)
    found = clip.model.state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in found.items())


def config(root) -> dict:
    return json.loads((root / "core" / "assets" / "tiny.json").read_text())


def test_a_file_of_clips_names_fits_a_model_with_a_text_module(root, tmp_path):
    import open_clip

    model = open_clip.CustomTextCLIP(**config(root))
    values = {name: value + 1 for name, value in model.state_dict().items()}
    old = {name.removeprefix("text."): value for name, value in values.items()}
    old["logit_scale"] = old["logit_scale"].reshape(1)
    torch.save(old, tmp_path / "old.pt")
    load_weights(model, str(tmp_path / "old.pt"))
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())


def test_a_file_of_another_architecture_is_refused(weights, root, tmp_path):
    import open_clip

    file = str(tmp_path / "weights.safetensors")
    save_file(weights, file)
    with pytest.raises(UserError, match="ln_final.bias is .128,. there and .64,. here") as error:
        other = config(root)
        other["text_cfg"]["width"] = 64
        load_weights(open_clip.CLIP(**other), file)
    assert "\n" not in str(error.value)
    save_file({name: value for name, value in weights.items() if name != "logit_scale"}, file)
    with pytest.raises(UserError, match="logit_scale is missing there and .* here .1 tensors"):
        build_clip("tiny", file)


@pytest.mark.parametrize("name", ["noise.pt", "noise.safetensors", "cut.pt", "list.pt", "text.pt"])
def test_a_file_that_is_no_weights_is_refused(name, tmp_path):
    file = tmp_path / name
    if name == "list.pt":
        torch.save([1, 2], file)
    elif name == "text.pt":
        torch.save({"state_dict": {"a": "b"}}, file)
    else:
        torch.save({"weight": torch.zeros(1000)}, file)
        whole = file.read_bytes()
        file.write_bytes(whole[:700] if name == "cut.pt" else b"noise" * 100)
    with pytest.raises(UserError, match="cannot be read as weights: ") as error:
        read_weights(str(file))
    assert "\n" not in str(error.value) and len(str(error.value)) < 200 + len(str(file))


def test_pickled_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"weight": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(UserError, match="cannot be read as weights"):
        read_weights(str(tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()
