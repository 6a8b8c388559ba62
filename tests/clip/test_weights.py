"""Weight files in every form that CLIPs come in."""

import argparse
import json
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from softprompt.core.base.errors import UserError
from softprompt.core.clip.build import build_clip
from softprompt.core.clip.recognize import architectures_of
from softprompt.core.clip.weight_files import read_weights
from softprompt.core.clip.weights import load_weights


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
    load_weights(model, read_weights(str(tmp_path / "old.pt")))
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())


def test_a_file_of_another_architecture_is_refused(weights, root, tmp_path):
    import open_clip

    file = str(tmp_path / "weights.safetensors")
    save_file(weights, file)
    with pytest.raises(UserError, match=r"positional_embedding is \(32, 128\) there and") as error:
        other = config(root)
        other["text_cfg"]["width"] = 64
        load_weights(open_clip.CLIP(**other), read_weights(file))
    assert "\n" not in str(error.value)
    save_file({name: value for name, value in weights.items() if name != "logit_scale"}, file)
    with pytest.raises(UserError, match=r"architecture's: it lacks 1 tensor .logit_scale.; MODEL"):
        build_clip("tiny", file)


def hugging_face_names(weights, layers=4):
    """Return weights of OpenAI's architecture as Hugging Face's ``CLIPModel`` saves them."""
    found = {
        "logit_scale": weights["logit_scale"],
        "text_projection.weight": weights["text_projection"].T.contiguous(),
        "visual_projection.weight": weights["visual.proj"].T.contiguous(),
        "text_model.embeddings.position_ids": torch.arange(32)[None],
        "text_model.embeddings.token_embedding.weight": weights["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": weights["positional_embedding"],
        "vision_model.embeddings.position_ids": torch.arange(37)[None],
        "vision_model.embeddings.class_embedding": weights["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": weights["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": weights["visual.positional_embedding"],
    }
    norms = {
        "text_model.final_layer_norm": "ln_final",
        "vision_model.pre_layrnorm": "visual.ln_pre",
        "vision_model.post_layernorm": "visual.ln_post",
    }
    for tower, own in (("text_model", ""), ("vision_model", "visual.")):
        for index in range(layers):
            theirs = f"{tower}.encoder.layers.{index}"
            ours = f"{own}transformer.resblocks.{index}"
            for kind in ("weight", "bias"):
                joined = weights[f"{ours}.attn.in_proj_{kind}"].chunk(3)
                for letter, part in zip("qkv", joined, strict=True):
                    found[f"{theirs}.self_attn.{letter}_proj.{kind}"] = part.contiguous()
            norms |= {
                f"{theirs}.self_attn.out_proj": f"{ours}.attn.out_proj",
                f"{theirs}.layer_norm1": f"{ours}.ln_1",
                f"{theirs}.layer_norm2": f"{ours}.ln_2",
                f"{theirs}.mlp.fc1": f"{ours}.mlp.c_fc",
                f"{theirs}.mlp.fc2": f"{ours}.mlp.c_proj",
            }
    for theirs, ours in norms.items():
        for kind in ("weight", "bias"):
            found[f"{theirs}.{kind}"] = weights[f"{ours}.{kind}"]
    return found


def prefixed(weights, prefix):
    return {f"{prefix}{name}": value for name, value in weights.items()}


WRAPPED = {
    "as it is": lambda weights: weights,
    "half": lambda weights: {name: value.half() for name, value in weights.items()},
    "model": lambda weights: {"model": weights, "epoch": 3, "args": argparse.Namespace(lr=1)},
    "two wrappers": lambda weights: {"state_dict": {"model": weights}},
    "a prefix": lambda weights: prefixed(weights, "model."),
    "two prefixes": lambda weights: {"model": prefixed(weights, "module.clip.")},
    "compiled": lambda weights: prefixed(weights, "_orig_mod."),
    "buffers": lambda weights: {**weights, "attn_mask": torch.full((2, 2), -torch.inf)},
    "Hugging Face": hugging_face_names,
    "Hugging Face, prefixed": lambda weights: prefixed(hugging_face_names(weights), "clip_model."),
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_wrappers_prefixes_and_layouts_are_read(wrapping, weights, tmp_path):
    torch.save(WRAPPED[wrapping](weights), tmp_path / "weights.pt")
    found = read_weights(str(tmp_path / "weights.pt")).tensors
    assert found.keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in found.items())


def test_the_content_decides_and_not_the_suffix(weights, tmp_path):
    one = {"logit_scale": weights["logit_scale"]}
    save_file(one, tmp_path / "weights.bin")
    torch.save(one, tmp_path / "weights.safetensors")
    for file in tmp_path.iterdir():
        assert read_weights(str(file)).tensors == one


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "it is a web page"),
        (b'{"weight_map": {}}', "it is JSON text"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
        (b"noise" * 100, "it is damaged, or neither safetensors nor"),
        (b"\x09\0\0\0\0\0\0\0{noise}}}", "cannot be read as weights: "),
    ],
)
def test_a_file_that_is_something_else_is_named(content, says, tmp_path):
    file = tmp_path / "weights.pt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"^{file} cannot be read as weights: .*") as error:
        build_clip("tiny", str(file))
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "it holds a list, not tensors by name"),
        ({"state_dict": {"a": "b"}}, "it holds a, and no tensors"),
        ({"epoch": 1, "model": nn.Linear(2, 2)}, "an object of torch.nn.modules.linear.Linear"),
    ],
)
def test_what_torch_saved_without_weights_is_named(content, says, tmp_path):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError) as error:
        read_weights(str(tmp_path / "weights.pt"))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    file = tmp_path / "cut.pt"
    torch.save({"weight": torch.zeros(1000)}, file)
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(UserError, match="cannot be read as weights: its end is missing"):
        read_weights(str(file))


def test_an_archive_of_other_files_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.zip", "w") as archive:
        archive.writestr("clip/weights.pt", b"")
    with pytest.raises(UserError, match="it is an archive of clip/weights.pt; unpack it"):
        read_weights(str(tmp_path / "weights.zip"))


def test_a_folder_is_told_to_name_a_file(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="is a folder; give a file of weights, such as model.safe"):
        build_clip("tiny", str(tmp_path))


def test_weights_that_are_not_finite_are_blamed_on_their_file(weights, tmp_path):
    file = tmp_path / "weights.pt"
    broken = weights["visual.proj"].clone()
    broken[0, 0] = torch.nan
    torch.save({**weights, "visual.proj": broken}, file)
    with pytest.raises(UserError, match=r"weights.pt hold NaN or .* in 1 tensor \(visual.proj\);"):
        build_clip("tiny", str(file))


def test_missing_and_other_tensors_are_summarized(weights, tmp_path):
    file = tmp_path / "weights.pt"
    kept = {name: value for name, value in weights.items() if ".mlp." not in name}
    torch.save({**kept, "head.weight": torch.zeros(1)}, file)
    with pytest.raises(UserError) as error:
        build_clip("tiny", str(file))
    assert "it lacks 32 tensors (" in str(error.value)
    assert "; it also has 1 tensor (head.weight); MODEL.BACKBONE.NAME must" in str(error.value)


def test_pickled_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"weight": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(UserError, match="cannot be read as weights: it holds an object of io.open"):
        read_weights(str(tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "image", "text"),
    [
        ("ViT-B-32", (768, 32, 50, 12), (512, 77, 12)),
        ("ViT-B-16", (768, 16, 197, 12), (512, 77, 12)),
        ("ViT-L-14-336", (1024, 14, 577, 24), (768, 77, 12)),
    ],
)
def test_the_architecture_of_weights_is_recognized(name, image, text):
    width, patch, places, layers = image
    text_width, context, text_layers = text
    shapes = {
        "visual.conv1.weight": (width, 3, patch, patch),
        "visual.positional_embedding": (places, width),
        "visual.proj": (width, text_width),
        "positional_embedding": (context, text_width),
        **{f"visual.transformer.resblocks.{i}.ln_1.weight": (width,) for i in range(layers)},
        **{f"transformer.resblocks.{i}.ln_1.weight": (text_width,) for i in range(text_layers)},
    }
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    assert architectures_of(tensors)[0] == name
    tensors.pop("visual.proj")
    assert architectures_of(tensors) == []


def test_another_architecture_is_named(monkeypatch, weights, tmp_path):
    monkeypatch.setattr("softprompt.core.clip.weights.architectures_of", lambda _: ["ViT-B-32"])
    torch.save({**weights, "logit_scale": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="MODEL.BACKBONE.NAME must name theirs, such as ViT-B-32$"):
        build_clip("tiny", str(tmp_path / "weights.pt"))
