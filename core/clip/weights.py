"""Read weight files, and copy them into a model of the same architecture."""

import zipfile
from typing import Any

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError, reason
from softprompt.core.base.seeding import seeded

# Entries of OpenAI's archives that are no weights.
SIZES = ("input_resolution", "context_length", "vocab_size")


def load_weights(model: Any, file: str) -> None:
    """Copy a weight file into one of open_clip's models.

    Raises:
        UserError: the file cannot be read, or its tensors are not the model's.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    weights = read_weights(file)
    own = model.state_dict()
    if "token_embedding.rows" in weights:
        weights = _with_all_rows(weights, model.vocab_size)
    if hasattr(model, "text"):
        weights = convert_to_custom_text_state_dict(convert_state_dict(model, weights))
    for name in ("logit_scale", "logit_bias"):  # numbers in some files, vectors of one in others
        if name in weights and name in own and weights[name].numel() == own[name].numel():
            weights[name] = weights[name].reshape(own[name].shape)
    names = sorted(own.keys() | weights.keys())
    wrong = [name for name in names if _shape(own, name) != _shape(weights, name)]
    if wrong:
        first = wrong[0]
        raise UserError(
            f"the weights in {file} are of another architecture: {first} is "
            f"{_shape(weights, first)} there and {_shape(own, first)} here "
            f"({len(wrong)} tensors differ); MODEL.BACKBONE.NAME must name theirs"
        )
    model.load_state_dict(weights)


def read_weights(file: str) -> dict[str, Tensor]:
    """Return the tensors of a weight file by name, in fp32; no pickled code is run."""
    try:
        if file.endswith(".safetensors"):
            from safetensors.torch import load_file

            weights = load_file(file)
        elif _is_torchscript(file):  # how OpenAI ships its models
            weights = torch.jit.load(file, map_location="cpu").state_dict()
        else:
            weights = torch.load(file, map_location="cpu", weights_only=True)
            weights = weights.get("state_dict", weights)
        return {
            name.removeprefix("module."): value.float() if value.is_floating_point() else value
            for name, value in weights.items()
            if name not in SIZES
        }
    except Exception as error:  # zip, pickle, safetensors and torch raise what they like
        raise UserError(f"{file} cannot be read as weights: {reason(error)}") from error


def _is_torchscript(file: str) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | str:
    return tuple(tensors[name].shape) if name in tensors else "missing"


def _with_all_rows(weights: dict[str, Tensor], vocabulary: int) -> dict[str, Tensor]:
    """Return weights with noise of the trained rows' size for those that a slimmed file omits."""
    rows = weights.pop("token_embedding.rows").long()
    trained = weights.pop("token_embedding.trained")
    with seeded(0, "token rows"):
        table = torch.randn(vocabulary, trained.shape[1]) * trained.std()
    table[rows] = trained
    return {**weights, "token_embedding.weight": table}
