"""Find the line of a plugin in which an error arose."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from types import FrameType

from softprompt.core.base.errors import PluginError, UserError, function_of, reason
from softprompt.core.base.plugins import ENTRY_POINTS, PREFIX
from softprompt.core.base.registry import DATASETS, PROMPT_LEARNERS, TRAINERS, is_built_in


@contextmanager
def blaming_plugins() -> Iterator[None]:
    """Turn an error that arises in a plugin's code into a ``PluginError`` that says where."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        blamed = plugin_error(error)
        if blamed is None:
            raise
        raise blamed from error


def plugin_error(error: BaseException) -> PluginError | None:
    """Return an error of one line that names class, file and line; None: in no plugin's code."""
    packages, found = plugin_packages(), None
    traceback = error.__traceback__
    while traceback:
        name = traceback.tb_frame.f_globals.get("__name__", "")
        if name.startswith(PREFIX) or name.partition(".")[0] in packages:
            found = traceback
        traceback = traceback.tb_next
    if found is None:
        return None
    frame = found.tb_frame
    kind, said = type(error).__name__, reason(error)
    return PluginError(
        f"{_place(frame)} ({frame.f_code.co_filename}, line {found.tb_lineno}) raised "
        f"{kind}{'' if said == kind else f': {said}'}"
    )


def plugin_packages() -> set[str]:
    """Return the top-level packages that registered classes of other authors come from."""
    tables = (DATASETS, PROMPT_LEARNERS, TRAINERS)
    classes = [table[name] for table in tables for name in table.names()]
    modules = {cls.__module__ for cls in classes if not is_built_in(cls)}
    modules |= {entry.module for entry in entry_points(group=ENTRY_POINTS)}
    return {module.partition(".")[0] for module in modules} - {"__main__"}  # a tool's own frames


def _place(frame: FrameType) -> str:
    """Return what a frame runs: a function or method, or the module that is imported."""
    if frame.f_code.co_name == "<module>":
        return str(frame.f_globals.get("__name__", "")).removeprefix(PREFIX)
    return function_of(frame)
