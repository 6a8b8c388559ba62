"""The configuration of meta-training: a backbone, a prompt learner and ``META``.

As with registered classes, keyword-only arguments are the options: ``META.INNER.STEPS`` is
``Objective(steps=...)``, and nothing else lists them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from yacs.config import CfgNode

from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.config.check import check_values
from softprompt.core.config.load import configure
from softprompt.core.config.options import option_keys, option_node
from softprompt.core.config.saved import SavedSettings
from softprompt.core.config.schema import defaults
from softprompt.core.meta.clusters.cluster import cluster
from softprompt.core.meta.corpus import open_corpus, samplers
from softprompt.core.meta.loop import Outer
from softprompt.core.meta.objective import Objective
from softprompt.core.meta.regulator import Regulator

SECTIONS: dict[str, Callable] = {
    "PAIRS": open_corpus,
    "CLUSTER": cluster,
    "TASKS": samplers,
    "REGULATOR": Regulator,
    "INNER": Objective,
    "OUTER": Outer,
}
SHARED = ("OUTPUT_DIR", "SEED", "USE_CUDA", "PLUGINS", "INPUT", "MODEL", "PROMPT")  # with a run's


def load_meta_config(
    config_file: str = "",
    flags: dict[str, Any] | None = None,
    pairs: Sequence[str] = (),
    saved: SavedSettings | None = None,
) -> CfgNode:
    """Return the frozen configuration of meta-training; later sources win, as in a run's.

    Args:
        config_file: a YAML file; "": the defaults.
        flags: values by dotted key.
        pairs: ``[KEY, VALUE, KEY, VALUE ...]``.
        saved: the settings of the run that continues, the weakest source.

    Raises:
        UserError: a file is missing or malformed, a key or value does not exist, or ``saved`` names
            plugins that the user does not.
    """
    cfg = CfgNode({key: value for key, value in defaults().items() if key in SHARED})
    cfg.META = CfgNode({section: option_node(owner) for section, owner in SECTIONS.items()})
    files = [config_file] if config_file else []
    loaded = configure(cfg, {"PROMPT": PROMPT_LEARNERS}, files, flags, pairs, saved)
    for name, owner in SECTIONS.items():
        check_values(loaded, option_keys(f"META.{name}", owner))
    return loaded


def section(cfg: CfgNode, name: str) -> dict[str, Any]:
    """Return the options of a section of ``META`` as keyword arguments."""
    return {key.lower(): value for key, value in cfg.META[name].items()}
