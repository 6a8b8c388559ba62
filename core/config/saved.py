"""The settings that a run saved: data from whoever made the run, who is not always the user."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softprompt.core.base.errors import UserError
from softprompt.core.base.plugins import plugin_name
from softprompt.core.config.values import coerce
from softprompt.core.config.yaml_files import Layer, read_yaml

PLACES = ("CACHE", "OUTPUT_DIR")  # where a run writes


@dataclass(frozen=True)
class SavedSettings:
    """The settings of a run, which import no code unless the user asks for it.

    Attributes:
        file: the run's ``config.yaml``, or the prompt file whose header holds ``settings``.
        settings: the settings of that header; None: those of ``file``.
        trust_plugins: import the run's ``PLUGINS``.
        own_places: write where the run wrote, which is right only for continuing it.
    """

    file: str | Path
    settings: dict[str, Any] | None = None
    trust_plugins: bool = False
    own_places: bool = False

    def layer(self) -> Layer:
        """Return the settings without the keys that the user alone may set.

        Raises:
            UserError: the file is missing or malformed.
        """
        tree = saved_yaml(self.file) if self.settings is None else self.settings
        dropped = () if self.own_places else PLACES
        kept = {key: value for key, value in tree.items() if key not in dropped}
        return Layer(str(self.file), kept, {})

    def plugins_to_import(self, layer: Layer, given: list[str] | None) -> list[str]:
        """Return the run's plugins that the user has not imported; there are none unless trusted.

        Args:
            layer: the settings of the run.
            given: the plugins that the user names; a file is known by its name, as it may lie
                elsewhere now. Empty: go on without any. None: the user says nothing about them.

        Raises:
            UserError: the run names plugins that are neither trusted nor named by the user.
        """
        plugins = coerce(layer.settings.get("PLUGINS", ()), (), "PLUGINS", layer.file)
        named = list(map(str, given or ()))
        known = set(map(plugin_name, named))
        missing = [str(plugin) for plugin in plugins if plugin_name(str(plugin)) not in known]
        if missing and not self.trust_plugins and given != []:
            needed = [*named, *missing]
            value = needed[0] if len(needed) == 1 else f"({','.join(needed)})"
            raise UserError(
                f"{layer.file}, the settings of a run, names {', '.join(map(repr, missing))} in "
                f"PLUGINS, and a run may not import code by itself; name it yourself by the pair "
                f"PLUGINS {value!r} (predict.py: --set PLUGINS ...), or give --trust-plugins to "
                "import whatever the run names"
            )
        return missing if self.trust_plugins else []


def saved_yaml(file: str | Path) -> dict[str, Any]:
    """Return the settings in a run's ``config.yaml``.

    Raises:
        UserError: the file is missing, malformed or empty.
    """
    tree = read_yaml(file)
    if not tree:
        raise UserError(
            f"{file} is empty, so the settings of its run are lost; delete it, and give them in "
            "the command again (--config-file and the pairs)"
        )
    return tree
