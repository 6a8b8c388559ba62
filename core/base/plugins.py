"""Import the modules that register classes: built-in folders, entry points and PLUGINS."""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

from softprompt.core.base.errors import UserError, reason

BUILT_IN = ("softprompt.core.prompts", "softprompt.trainers", "softprompt.datasets")
ENTRY_POINTS = "softprompt.plugins"
PREFIX = "softprompt_plugin_"  # of the module names of files


def import_built_in() -> None:
    """Import every module of the built-in folders and every installed plugin package.

    Raises:
        UserError: an installed plugin cannot be imported.
    """
    for folder in BUILT_IN:
        package = importlib.import_module(folder)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{folder}.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # a broken package must be named
            raise UserError(
                f"the installed plugin {entry.name!r} ({entry.value}) cannot be imported: "
                f"{_why(error)}"
            ) from error


def plugin_name(plugin: str) -> str:
    """Return what a plugin is known by wherever it lies: its file's name, or its dotted module."""
    return plugin.replace("\\", "/").rpartition("/")[2]


def without_repetitions(plugins: Iterable[str]) -> tuple[str, ...]:
    """Return the plugins in their order, a file once however its path is written."""
    by_place: dict[Path | str, str] = {}
    for plugin in plugins:
        place = Path(plugin).expanduser().resolve() if plugin.endswith(".py") else plugin
        by_place.setdefault(place, plugin)
    return tuple(by_place.values())


def import_plugins(plugins: Iterable[str], folder: Path | None = None) -> list[str]:
    """Import dotted modules or ``.py`` files; return how to name them without ``folder``.

    Args:
        folder: where relative files are looked for, after the current folder.

    Raises:
        UserError: one of them is missing or cannot be imported.
    """
    names = []
    for plugin in plugins:
        try:
            if plugin.endswith(".py"):
                names.append(_import_file(plugin, folder))
            else:
                importlib.import_module(plugin)
                names.append(plugin)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # whatever it raises, the user must learn which
            raise UserError(
                f"PLUGINS names {plugin!r}, which cannot be imported: {_why(error)}"
            ) from error
    return names


def _why(error: BaseException) -> str:
    """Return an error of an import in one line, with the last line of a file that it came by."""
    places, traceback = [], error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_name == "<module>":
            file = Path(traceback.tb_frame.f_code.co_filename).name
            places.append(f" ({file}, line {traceback.tb_lineno})")
        traceback = traceback.tb_next
    return f"{type(error).__name__}: {reason(error)}{places[-1] if places else ''}"


def _import_file(plugin: str, folder: Path | None) -> str:
    """Import a file; return its path as given, or the absolute one if it lies in ``folder``."""
    given = Path(plugin).expanduser()
    places = [given] if given.is_absolute() or folder is None else [given, folder / given]
    file = next((place.resolve() for place in places if place.is_file()), None)
    if file is None:
        looked = " and ".join(str(place.absolute()) for place in places)
        raise UserError(f"PLUGINS names {plugin!r}, but there is no such file; looked at {looked}")
    found = str(Path(plugin)) if given.is_file() else str(file)
    name = f"{PREFIX}{file.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and Path(loaded.__file__ or "") == file:
        return found
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not Python code")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return found
