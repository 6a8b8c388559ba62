"""The result of meta-training: one safetensors file of prompts and regulator.

Its header describes, as JSON, what they fit: the learner and its options, the backbone, the
regulator's form and all settings. The package contains files for the embedded backbone, which are
loaded by name.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from softprompt.core.base.errors import UserError
from softprompt.core.base.files import ASSETS, write_atomically, writing_to
from softprompt.core.base.formats import check_format, check_shape
from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.engine import checkpoint
from softprompt.core.engine.prompt_file import read_safetensors
from softprompt.core.meta.regulator import Regulator, token_rows
from softprompt.core.prompts.base import PromptLearner

FILE = "gram.safetensors"
HEADER = "softprompt-gram"
FORMAT = 1
PARTS = ("prompts", "regulator")
SHAPE = {
    "learner": str,
    "options": dict,
    "backbone": {"name": str, "weights": str, "vectors": str},
    "regulator": {"form": str},
    "step": int,
}


@dataclass(frozen=True)
class MetaLearned:
    """The contents of a file."""

    file: Path
    header: dict[str, Any]
    prompts: dict[str, Tensor]
    regulator: dict[str, Tensor]

    def start(self, learner: PromptLearner, clip: FrozenCLIP) -> None:
        """Copy the prompts into a learner.

        Raises:
            UserError: they were trained for another learner, other options or another backbone.
        """
        self._check(learner, clip)
        checkpoint.load_into(learner, self.prompts, self.file)

    def build_regulator(self, learner: PromptLearner, clip: FrozenCLIP) -> Regulator:
        """Return the frozen regulator for a learner's tensors.

        Raises:
            UserError: it was trained for another learner, other options or another backbone.
        """
        self._check(learner, clip)
        rows = token_rows(learner, clip)
        try:
            regulator = Regulator(rows, clip.dim, **self.header["regulator"])
        except TypeError as error:
            raise UserError(f"{self.file} is damaged: its 'regulator' has {error}") from None
        needed = {name: value.shape for name, value in regulator.state_dict().items()}
        if needed != {name: value.shape for name, value in self.regulator.items()}:
            raise UserError(
                f"{self.file} holds a regulator of other tensors than this run's; use the PROMPT "
                f"options it was meta-trained with: {self.header['options']}"
            )
        regulator.load_state_dict(self.regulator)
        return regulator.requires_grad_(False)

    def _check(self, learner: PromptLearner, clip: FrozenCLIP) -> None:
        trained = self.header["backbone"]
        if self.header["learner"] != name_of(learner):
            raise UserError(
                f"{self.file} was meta-trained for PROMPT.NAME {self.header['learner']}, not "
                f"{name_of(learner)}; tools/meta_train.py makes a file for that"
            )
        if (trained["name"], trained["vectors"]) != (clip.name, vectors_hash(clip)):
            theirs, ours = trained["name"], clip.name
            if theirs == ours:
                theirs += f" with the weights {trained['weights']}"
                ours += f" with the weights {clip.weights}"
            raise UserError(
                f"{self.file} was meta-trained on the backbone {theirs}, not {ours}; "
                "tools/meta_train.py makes a file for that"
            )


def save(
    file: Path,
    learner: PromptLearner,
    regulator: Regulator,
    clip: FrozenCLIP,
    about: dict[str, Any],
) -> None:
    """Write prompts and regulator, atomically.

    Args:
        about: further entries of the header: options, settings, validations.
    """
    modules: tuple[nn.Module, ...] = (learner, regulator)
    tensors = {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, module in zip(PARTS, modules, strict=True)
        for name, value in module.state_dict().items()
    }
    weights = Path(clip.weights).name if Path(clip.weights).is_file() else clip.weights
    header = {
        "format": FORMAT,
        "learner": name_of(learner),
        "template": learner.template,
        "backbone": {"name": clip.name, "weights": weights, "vectors": vectors_hash(clip)},
        "regulator": {
            "form": regulator.form,
            "rank": regulator.rank,
            "per_layer": regulator.per_layer,
        },
        **about,
    }
    with writing_to(file, "go on with --resume"):
        write_atomically(file, safetensors_bytes(tensors, metadata={HEADER: json.dumps(header)}))


def load(name: str) -> MetaLearned:
    """Load a result of meta-training.

    Args:
        name: a file, the folder of a meta-training, or the name of a file in the package.

    Raises:
        UserError: there is no such file, or it is another kind of file, damaged or of a newer
            version.
    """
    file = _find(name)
    tensors, header = read_safetensors(file, HEADER, "a file of GRAM")
    if header is None:
        raise UserError(
            f"{file} holds no meta-learned prompts; TRAINER.GRAM.FILE takes the {FILE} of a run of "
            f"tools/meta_train.py, or {_names()}"
        )
    check_shape(file, header, {"format": object})
    check_format(file, header["format"], FORMAT)
    check_shape(file, header, SHAPE)
    for key, value in tensors.items():
        if key.partition(".")[0] not in PARTS:
            raise UserError(f"{file} is damaged: its tensor {key!r} is of none of {PARTS}")
        if not value.isfinite().all():
            raise UserError(
                f"{file} cannot be used: its {key!r} is not finite everywhere, so its "
                "meta-training had diverged"
            )
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        parts[part][rest] = value
    return MetaLearned(file, header, **parts)


def embedded() -> list[str]:
    """Return the names of the files that the package contains."""
    return sorted(file.stem for file in _folder().glob("*.safetensors"))


def name_of(learner: PromptLearner) -> str:
    """Return the registered name of a learner's class."""
    return next(
        (name for name in PROMPT_LEARNERS.names() if PROMPT_LEARNERS[name] is type(learner)),
        type(learner).__name__,
    )


def vectors_hash(clip: FrozenCLIP) -> str:
    """Return a hash of a backbone's biases and gains, which identify its weights."""
    digest = hashlib.sha256()
    for name, value in sorted(clip.model.state_dict().items()):
        if value.dim() < 2:
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().reshape(-1).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _find(name: str) -> Path:
    given = Path(name).expanduser()
    run = given / FILE
    if run.is_file():
        return run
    if given.is_file():
        return given
    if name in embedded():
        return _folder() / f"{name}.safetensors"
    raise UserError(
        f"TRAINER.GRAM.FILE names {name!r}, but there is no such file; it takes the {FILE} of a "
        f"run of tools/meta_train.py, that run's folder, or {_names()}"
    )


def _names() -> str:
    return ", ".join(embedded()) or "none of the package's own"


def _folder() -> Path:
    return ASSETS / "gram"
