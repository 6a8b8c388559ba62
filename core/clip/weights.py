"""Copy weights into a model of the same architecture."""

from typing import Any

import torch
from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.base.seeding import seeded
from softprompt.core.clip.recognize import architectures_of
from softprompt.core.clip.weight_files import WeightFile

NAMED = 3  # tensors that a message names


def load_weights(model: Any, file: WeightFile) -> None:
    """Copy the weights of a file into one of open_clip's models.

    Raises:
        UserError: they are not the model's tensors, or hold NaN or infinite numbers.
    """
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    weights = dict(file.tensors)
    own = model.state_dict()
    if "token_embedding.rows" in weights:
        weights = _with_all_rows(weights, model.vocab_size)
    if hasattr(model, "text"):
        weights = convert_to_custom_text_state_dict(convert_state_dict(model, weights))
    for name in ("logit_scale", "logit_bias"):  # numbers in some files, vectors of one in others
        if name in weights and name in own and weights[name].numel() == own[name].numel():
            weights[name] = weights[name].reshape(own[name].shape)
    _check_shapes(weights, own, file.place)
    broken = [name for name, value in weights.items() if not value.isfinite().all()]
    if broken:
        raise UserError(
            f"the weights in {file.place} hold NaN or infinite numbers, in {_some(broken)}; the "
            "file was saved so, or is damaged"
        )
    model.load_state_dict(weights)


def _check_shapes(weights: dict[str, Tensor], own: dict[str, Tensor], place: str) -> None:
    missing = [name for name in own if name not in weights]
    unknown = [name for name in weights if name not in own]
    other = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    found = []
    if other:
        there, here = (tuple(tensors[other[0]].shape) for tensors in (weights, own))
        found.append(f"{other[0]} is {there} there and {here} here ({len(other)} differ in shape)")
    if missing:
        found.append(f"it lacks {_some(missing)}")
    if unknown:
        found.append(f"it also has {_some(unknown)}")
    if not found:
        return
    known = architectures_of(weights) if other else []
    advice = "MODEL.BACKBONE.NAME must name theirs" + ("" if other else ", if they are complete")
    advice += f", such as {', '.join(known[:NAMED])}" if known else ""
    raise UserError(
        f"the weights in {place} are not this architecture's: {'; '.join(found)}; {advice}"
    )


def _some(names: list[str]) -> str:
    """Return how many tensors these are, and the first of them."""
    more = ", ..." if len(names) > NAMED else ""
    return f"{len(names)} tensor{'s' * (len(names) > 1)} ({', '.join(names[:NAMED])}{more})"


def _with_all_rows(weights: dict[str, Tensor], vocabulary: int) -> dict[str, Tensor]:
    """Return weights with noise of the trained rows' size for those that a slimmed file omits."""
    rows = weights.pop("token_embedding.rows").long()
    trained = weights.pop("token_embedding.trained")
    with seeded(0, "token rows"):
        table = torch.randn(vocabulary, trained.shape[1]) * trained.std()
    table[rows] = trained
    return {**weights, "token_embedding.weight": table}
