import pytest
import torch

from softprompt.core.engine.optim import Optim


def test_the_schedule_is_dassls():
    optim = Optim(lr=0.002, epochs=10)
    rates = [optim.lr_at(epoch) for epoch in range(10)]
    assert rates[:4] == pytest.approx([1e-5, 0.002, 0.00195106, 0.00180902], rel=1e-5)
    assert rates[-1] == pytest.approx(0.000190983, rel=1e-5)


def test_the_last_rate_of_prometars_schedule():
    assert Optim(lr=0.0025, epochs=10).lr_at(9) == pytest.approx(2.39e-4, rel=1e-2)


def test_a_constant_schedule_still_warms_up():
    optim = Optim(lr=0.1, schedule="constant", warmup_epochs=2, warmup_lr=0.01)
    assert [optim.lr_at(epoch) for epoch in range(4)] == [0.01, 0.01, 0.1, 0.1]


@pytest.mark.parametrize(("name", "cls"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_named_optimizer_is_made(name, cls):
    parameter = torch.nn.Parameter(torch.zeros(2))
    made = Optim(name=name, lr=0.5, weight_decay=0.25).optimizer([parameter])
    assert type(made) is cls
    assert made.defaults["lr"] == 0.5
    assert made.defaults["weight_decay"] == 0.25
