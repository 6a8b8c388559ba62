"""Read a file of weights, whatever its form, without running pickled code; name what is none."""

import argparse
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError, reason
from softprompt.core.clip import hugging_face

SIZES = ("input_resolution", "context_length", "vocab_size")  # only OpenAI's models hold these
# Training scripts save the weights under one of these, beside the optimizer and others.
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network")
# Parents that the weights have where CLIP was a part of another module, or wrapped or compiled.
PREFIXES = ("module.", "model.", "_orig_mod.", "clip.", "clip_model.")
# What modules make anew for themselves.
MADE = ("attn_mask", "position_ids")
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file by open_clip's names, in fp32.

    Attributes:
        quick_gelu: whether the towers had OpenAI's activation; None: the file does not say.
    """

    place: str
    tensors: dict[str, Tensor]
    quick_gelu: bool | None = None


def read_weights(file: str) -> WeightFile:
    """Return what a file of weights holds; no pickled code is run.

    It may be a safetensors file, OpenAI's archive, or what ``torch.save`` wrote of a state dict,
    also within a training script's checkpoint, under the names of a wrapper, or in the layout of
    Hugging Face's ``CLIPModel``. Its content decides, not its suffix.

    Raises:
        UserError: it cannot be read, or is something else, which the message names.
    """
    try:
        content = _read(Path(file))
        named = _unwrapped(content)
    except UserError as error:
        raise UserError(f"{file} cannot be read as weights: {error}") from None
    except Exception as error:  # zip, pickle, safetensors and torch raise what they like
        raise UserError(f"{file} cannot be read as weights: {_reason(error)}") from error
    tensors = {
        name: value.float() if value.is_floating_point() else value
        for name, value in named.items()
        if name not in SIZES and not name.endswith(MADE)
    }
    if set(SIZES) <= named.keys():
        return WeightFile(file, tensors, True)
    if hugging_face.is_clip(tensors):
        config = _json(Path(file).with_name("config.json"))
        return WeightFile(file, hugging_face.renamed(tensors), hugging_face.quick_gelu(config))
    own = _json(Path(file).with_name("open_clip_config.json")).get("model_cfg")
    if isinstance(own, dict) and Path(file).name.startswith("open_clip"):
        return WeightFile(file, tensors, bool(own.get("quick_gelu", False)))
    return WeightFile(file, tensors)


def check_no_folder(place: Path) -> None:
    """Raise ``UserError`` naming the weight files in a folder that was given instead of one."""
    if place.is_dir():
        names = sorted(file.name for file in place.iterdir() if file.suffix in SUFFIXES)
        inside = f", such as {', '.join(names[:3])}" if names else ", and this one holds none"
        raise UserError(
            f"MODEL.BACKBONE.PRETRAINED {str(place)!r} is a folder; give a file of weights{inside}"
        )


def _read(file: Path) -> Any:
    """Return the content of a file, by the form that its first bytes show."""
    with open(file, "rb") as opened:
        start = opened.read(256)
    if not start:
        raise UserError("it is empty")
    if start.startswith(b"version https://git-lfs"):
        raise UserError(
            "it is a pointer of Git LFS, not the file itself; `git lfs pull` in its repository "
            "fetches that"
        )
    if re.match(rb"\s*<(!doctype|html|\?xml|head)", start, re.IGNORECASE):
        raise UserError("it is a web page, such as one that asks for a login; download it anew")
    if start.startswith(b"\x89HDF"):
        raise UserError("it is an HDF5 file, as Keras writes; give PyTorch's or safetensors")
    if start.lstrip().startswith(b"{"):
        raise UserError("it is JSON text, such as a configuration or a list of parts")
    if start[8:9] == b"{":  # after the length of its header
        from safetensors.torch import load_file

        return load_file(file)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        if any(name.endswith("constants.pkl") for name in names):  # how OpenAI ships its models
            return torch.jit.load(file, map_location="cpu").state_dict()
        if not any(name.endswith("data.pkl") for name in names):
            raise UserError(f"it is an archive of {', '.join(names[:3]) or 'nothing'}; unpack it")
    elif start.startswith(b"PK"):
        raise UserError("its end is missing; copy or download it anew")
    # A namespace holds a script's arguments, and nothing in it is called. The file is opened here
    # because torch judges a path by its suffix.
    with torch.serialization.safe_globals([argparse.Namespace]), open(file, "rb") as opened:
        return torch.load(opened, map_location="cpu", weights_only=True)


def _unwrapped(content: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dict, or of one that a checkpoint holds, by their own names."""
    while isinstance(content, Mapping):
        inner = next((w for w in WRAPPERS if isinstance(content.get(w), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    if not isinstance(content, Mapping):
        raise UserError(f"it holds a {type(content).__name__}, not tensors by name")
    named = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not named:
        held = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise UserError(f"it holds {held}, and no tensors")
    return _without_prefixes(named)


def _without_prefixes(named: dict[str, Tensor]) -> dict[str, Tensor]:
    pattern = re.compile(f"^({'|'.join(map(re.escape, PREFIXES))})+")
    shorter = {pattern.sub("", name): value for name, value in named.items()}
    return shorter if len(shorter) == len(named) else named


def _json(file: Path) -> dict[str, Any]:
    """Return the configuration that lies beside a downloaded file, {} if there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _reason(error: Exception) -> str:
    """Return what is wrong in a line; for a pickle, the object that reading it would make."""
    found = re.search(r"GLOBAL (\S+) was not", str(error))
    if found:
        return (
            f"it holds an object of {found[1]}, such as a whole model, and reading that could run "
            "code; where it comes from, save the weights alone by "
            "torch.save(model.state_dict(), FILE)"
        )
    if isinstance(error, pickle.UnpicklingError):  # torch explains its own options at length
        return "it is damaged, or neither safetensors nor what torch.save writes"
    return reason(error) if isinstance(error, OSError) else f"it is damaged: {reason(error)}"
