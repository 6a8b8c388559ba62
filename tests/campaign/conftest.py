"""What the campaign's tests share: its size and seed, finished runs to damage, its figures.

    python -m pytest tests/campaign

``CAMPAIGN_SHARE`` (default 1) is the share of the inputs that are tried, ``CAMPAIGN_SEED``
(default 0) says which. It prints at its end how many inputs of each kind it tried.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import forked  # noqa: E402
from inputs import Campaign  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def warm():
    forked.warm_up()


@pytest.fixture
def campaign(request, tmp_path, record_property) -> Campaign:
    return Campaign(request.module.KIND, tmp_path, record_property)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """A finished run of CoOp on the generated pictures, with a checkpoint of each epoch."""
    place = tmp_path_factory.mktemp("finished")
    outcome = forked.run("train", *forked.TRAIN, "--output-dir", "run", *KEPT, cwd=place)
    assert outcome.code == 0, outcome
    return place / "run"


KEPT = "OPTIM.MAX_EPOCH 2 TRAIN.CHECKPOINT_FREQ 1 OPTIM.LR 0.1".split()


def pytest_terminal_summary(terminalreporter):
    tried = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call" and "campaign" in report.nodeid:
                for kind, count in report.user_properties:
                    tried[kind] += count
    if tried:
        terminalreporter.section("campaign: inputs tried")
        for kind, count in sorted(tried.items()):
            terminalreporter.write_line(f"{count:6d}  {kind}")
        inputs = sum(count for kind, count in tried.items() if not kind.startswith("  "))
        terminalreporter.write_line(f"{inputs:6d}  in all")
