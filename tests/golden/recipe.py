"""The small CLIP, the batches and the prompt values behind the recorded official runs.

All numbers come from numpy's PCG64 streams, drawn in the order written here, so no file of weights
is needed. A module like this one can be given to ``tools/parity.py --recipe``.
"""

import math

import numpy as np
import torch
from torch import Tensor

SPEC = {
    "embed_dim": 64,
    "image_resolution": 64,
    "vision_layers": 4,
    "vision_width": 128,
    "vision_patch_size": 16,
    "context_length": 77,
    "vocab_size": 49408,
    "transformer_width": 64,
    "transformer_heads": 1,
    "transformer_layers": 4,
}
# What OpenAI ships in half precision is rounded to it; these parts it keeps in single precision.
SINGLE = (
    "positional_embedding",
    "logit_scale",
    "visual.class_embedding",
    "visual.positional_embedding",
    "token_embedding.weight",
    "ln_final.weight",
    "ln_final.bias",
)


class Stream:
    """Normal tensors drawn one after another from one numpy generator."""

    def __init__(self, seed: int):
        self.generator = np.random.default_rng(seed)

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        values = self.generator.standard_normal(shape, dtype=np.float32)
        return torch.from_numpy(values * np.float32(std))


def state_dict() -> dict[str, Tensor]:
    """The weights, under OpenAI's names."""
    stream, weights = Stream(2022), {}
    width, text, dim = SPEC["vision_width"], SPEC["transformer_width"], SPEC["embed_dim"]
    patch = SPEC["vision_patch_size"]
    patches = (SPEC["image_resolution"] // patch) ** 2

    def norm(name: str, size: int) -> None:
        weights[f"{name}.weight"] = 1 + stream.normal(size, std=0.1)
        weights[f"{name}.bias"] = stream.normal(size, std=0.1)

    def block(name: str, size: int) -> None:
        small = size**-0.5
        weights[f"{name}.attn.in_proj_weight"] = stream.normal(3 * size, size, std=small)
        weights[f"{name}.attn.in_proj_bias"] = stream.normal(3 * size, std=0.02)
        weights[f"{name}.attn.out_proj.weight"] = stream.normal(size, size, std=small)
        weights[f"{name}.attn.out_proj.bias"] = stream.normal(size, std=0.02)
        norm(f"{name}.ln_1", size)
        weights[f"{name}.mlp.c_fc.weight"] = stream.normal(4 * size, size, std=small)
        weights[f"{name}.mlp.c_fc.bias"] = stream.normal(4 * size, std=0.02)
        weights[f"{name}.mlp.c_proj.weight"] = stream.normal(size, 4 * size, std=0.5 * small)
        weights[f"{name}.mlp.c_proj.bias"] = stream.normal(size, std=0.02)
        norm(f"{name}.ln_2", size)

    weights["positional_embedding"] = stream.normal(SPEC["context_length"], text, std=0.05)
    weights["text_projection"] = stream.normal(text, dim, std=2 * text**-0.5)
    weights["logit_scale"] = torch.tensor(math.log(100.0))
    weights["visual.class_embedding"] = stream.normal(width, std=0.1)
    weights["visual.positional_embedding"] = stream.normal(patches + 1, width, std=0.1)
    weights["visual.proj"] = stream.normal(width, dim, std=width**-0.5)
    weights["visual.conv1.weight"] = stream.normal(width, 3, patch, patch, std=0.05)
    norm("visual.ln_pre", width)
    for layer in range(SPEC["vision_layers"]):
        block(f"visual.transformer.resblocks.{layer}", width)
    norm("visual.ln_post", width)
    for layer in range(SPEC["transformer_layers"]):
        block(f"transformer.resblocks.{layer}", text)
    weights["token_embedding.weight"] = stream.normal(SPEC["vocab_size"], text, std=0.2)
    norm("ln_final", text)
    return {
        name: value if name in SINGLE or ".ln_" in name else value.half().float()
        for name, value in weights.items()
    }


def batches() -> tuple[Tensor, Tensor, Tensor]:
    """Training images ``(5, 32, 3, 64, 64)`` and labels ``(5, 32)``, and 20 images to test on."""
    generator = np.random.default_rng(2023)
    size = SPEC["image_resolution"]

    def images(*lead: int) -> Tensor:
        return torch.from_numpy(generator.standard_normal((*lead, 3, size, size), dtype=np.float32))

    training = images(5, 32)
    labels = torch.from_numpy(generator.integers(0, 10, (5, 32)))
    return training, labels, images(20)


def init(shapes: dict[str, list[int]], seed: int = 7, std: float = 0.02) -> dict[str, Tensor]:
    """Start values of trained tensors, drawn in the order of their names."""
    stream = Stream(seed)
    return {name: stream.normal(*shapes[name], std=std) for name in sorted(shapes)}


def probe(tensor: Tensor) -> list[float]:
    """A tensor's L2 norm and its inner product with a fixed normal vector."""
    values = tensor.detach().double().flatten().numpy()
    fixed = np.random.default_rng(11).standard_normal(values.size)
    return [float(np.linalg.norm(values)), float(values @ fixed)]
