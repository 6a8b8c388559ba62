"""An official command line: its flags, and the KEY VALUE pairs behind them."""

from dataclasses import dataclass
from typing import Any

from softprompt.core.config.load import paired
from softprompt.core.coop.config import read_official
from softprompt.core.coop.settings import literal

# Flags of the official train.py that mean nothing here, with the reason.
IDLE_FLAGS = {
    "resume": "an official run cannot be continued here, only imported to be evaluated",
    "head": "none of these methods has a head",
    "source_domains": "none of these datasets has domains to choose from",
    "target_domains": "none of these datasets has domains to choose from",
    "no_train": "an import trains nothing",
}


@dataclass(frozen=True)
class OfficialCommand:
    """The flags and KEY VALUE pairs of an official command line; "" and None: not given."""

    config_file: str = ""  # the method's official YAML
    dataset_config_file: str = ""
    trainer: str = ""
    backbone: str | None = None
    root: str | None = None
    seed: int | None = None
    transforms: tuple[str, ...] = ()
    eval_only: bool = False  # the dataset and classes that it names are those to test on
    idle: tuple[str, ...] = ()  # the flags among ``IDLE_FLAGS``
    pairs: tuple[str, ...] = ()

    def pair_values(self) -> dict[str, Any]:
        """Return the pairs by key, their values read as the official code does."""
        return {key: literal(text) for key, text in paired(self.pairs).items()}

    def keys(self) -> dict[str, Any]:
        """Return the value of every official key that files, flags and pairs set; later ones win.

        Raises:
            UserError: a file cannot be read, or the last pair lacks its value.
        """
        keys: dict[str, Any] = {}
        for file in (self.dataset_config_file, self.config_file):
            keys |= read_official(file) if file else {}
        flags = {
            "TRAINER.NAME": self.trainer or None,
            "MODEL.BACKBONE.NAME": self.backbone,
            "DATASET.ROOT": self.root,
            "SEED": self.seed,
            "INPUT.TRANSFORMS": self.transforms or None,
        }
        keys |= {key: value for key, value in flags.items() if value is not None}
        return keys | self.pair_values()

    def idle_lines(self) -> list[str]:
        """Return a line for each flag that means nothing here."""
        return [f"--{flag.replace('_', '-')}: {IDLE_FLAGS[flag]}" for flag in self.idle]
