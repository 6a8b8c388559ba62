"""Processor seconds, shared work apart from a run's own."""

import pickle
import time

from softprompt.core.base.meter import Laps, Meter, Metered, processor_seconds


def work(seconds: float = 0.03) -> str:
    """Keep the processor busy; waiting costs it nothing."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return "done"


def test_shared_work_is_no_runs_own():
    meter = Meter()
    with meter.sharing():
        work()
    laps = Laps(meter, processor_seconds(), meter.shared)
    time.sleep(0.03)
    laps.end("prepare")
    assert Metered(work, meter)() == "done"
    with meter.sharing(), meter.sharing():  # counted once
        work()
    work()
    laps.end("train")
    found = laps.found()
    assert found["prepare"] < 0.02
    assert 0.03 <= found["train"] < 0.05
    assert 0.06 <= found["shared"] < 0.08


def test_a_metered_function_goes_to_other_processes():
    assert pickle.loads(pickle.dumps(Metered(work, Meter())))(0.0) == "done"
