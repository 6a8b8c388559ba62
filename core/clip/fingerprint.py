"""A hash of the frozen model and its arithmetic, on which a feature depends."""

import hashlib
import platform
from importlib.metadata import version
from typing import Any, Protocol

import torch
from torch import nn

# Their versions may change a feature's last bits, or what a transform does.
PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "pillow")


class Fingerprinted(Protocol):
    """What of a ``FrozenCLIP`` decides its features."""

    model: Any
    name: str
    precision: str
    device: torch.device
    onednn: bool


def model_fingerprint(clip: Fingerprinted) -> str:
    """Return a hash of a frozen CLIP's weights, modules, precision, device and libraries."""
    device = clip.device.type
    where = (
        (torch.cuda.get_device_name(clip.device), torch.backends.cuda.matmul.allow_tf32)
        if device == "cuda"
        else (platform.machine(), torch.backends.cpu.get_cpu_capability(), clip.onednn)
    )
    versions = [(package, version(package)) for package in PACKAGES]
    # The modules' printed form shows what no weight does, such as the activation.
    settings = (clip.name, repr(clip.model), clip.precision, device, *where, versions)
    return hashlib.sha256(repr((weights_fingerprint(clip.model), *settings)).encode()).hexdigest()


def weights_fingerprint(model: nn.Module) -> str:
    """Return a hash of a model's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
