"""What is not needed is not imported: torch and open_clip take seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(file for file in (ROOT / "tools").glob("[a-z]*.py"))
HEAVY = ("torch", "torchvision", "open_clip", "sklearn", "tensorboard", "scipy", "matplotlib")
SAY = f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"


def heavy_after(code: str) -> tuple[int, str, str]:
    """Run code in a fresh interpreter; return its exit code, what it prints, what is imported."""
    code = f"import atexit, sys; atexit.register(lambda: {SAY}); " + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    return done.returncode, done.stdout, done.stderr.rstrip().rpartition("\n")[2]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda file: file.stem)
def test_help_imports_nothing_heavy(tool):
    run = f"import runpy; sys.argv = [{str(tool)!r}, '--help']; "
    run += f"sys.path.insert(0, {str(tool.parent)!r}); "
    status, said, imported = heavy_after(
        run + f"runpy.run_path({str(tool)!r}, run_name='__main__')"
    )
    assert (status, imported) == (0, "[]")
    assert "usage: " in said


@pytest.mark.parametrize(
    "module",
    [
        *("config.load", "protocols.report.build", "data.splits", "download.request"),
        *("engine.run_folder", "studies.catalogue", "studies.benchmark.rows"),
    ],
)
def test_reports_and_downloads_need_no_torch(module):
    status, _, imported = heavy_after(f"import softprompt.core.{module}")
    assert (status, imported) == (0, "[]")


def test_a_sweep_refuses_what_its_engine_does_not_take_at_once():
    asked = "base2new --config-file configs/coop/tiny.yaml --datasets shapes --output-dir X"
    run = f"sys.path.insert(0, 'tools'); import sweep; sys.exit(sweep.main({asked.split()}"
    assert heavy_after(f"{run} + ['--engine', 'slurm']))")[::2] == (2, "[]")


def test_the_facade_gives_all_it_names():
    import softprompt.core

    assert all(getattr(softprompt.core, name).__name__ for name in ["Trainer", "Prompts"])
    for name in softprompt.core.__all__:
        assert getattr(softprompt.core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Trainers'"):
        _ = softprompt.core.Trainers


def test_the_clustering_tool_has_the_options_of_clustering():
    import clusters

    from softprompt.core.config.options import options_of
    from softprompt.core.meta.clusters.cluster import cluster

    assert clusters.clustering_options() == options_of(cluster)
