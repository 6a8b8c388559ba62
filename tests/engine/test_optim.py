import pytest
import torch

from softprompt.core.base.registry import TRAINERS
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


def test_the_squared_schedule_prints_what_kgcoops_author_logged(make_model, clip):
    """His log of 100 epochs; a line is printed after the schedule's step, so it has the next rate.

    The first line, of the warm-up's end, has the full rate.
    """
    trainer = TRAINERS["kgcoop"](make_model("coop", clip))
    trainer.prepare(Optim(lr=0.002, schedule="cosine_squared", epochs=100))

    def printed(line: int) -> str:
        trainer.start_epoch(line)
        return f"{trainer.optimizers['prompts'].param_groups[0]['lr']:.6e}"

    assert [printed(line) for line in (1, 2)] == ["2.000000e-03", "1.999013e-03"]
    assert [printed(line) for line in (51, 100)] == ["5.000000e-04", "1.217413e-10"]
    assert trainer.optim.lr_at(0) == 1e-5


def test_the_squared_schedule_is_two_schedules_of_one_optimizer():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.002)
    both = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100) for _ in range(2)]
    optim = Optim(lr=0.002, schedule="cosine_squared", epochs=100, warmup_epochs=0)
    for epoch in range(100):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(optim.lr_at(epoch), rel=1e-9)
        optimizer.step()
        for schedule in both:
            schedule.step()


def test_the_decay_of_adam_is_in_its_gradient_and_adamws_is_not():
    """A first step without a gradient: Adam moves by the rate, AdamW by rate times decay."""
    moved = {}
    for name in ("adam", "adamw"):
        parameter = torch.nn.Parameter(torch.tensor([8.0]))
        parameter.grad = torch.zeros(1)
        optim = Optim(name=name, lr=1.0, weight_decay=0.25, betas=(0.5, 0.6))
        optimizer = optim.optimizer([parameter])
        optimizer.step()
        assert optimizer.defaults["betas"] == (0.5, 0.6)
        moved[name] = parameter.item()
    assert moved == pytest.approx({"adam": 7.0, "adamw": 6.0})


@pytest.mark.parametrize(
    ("name", "cls"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_the_named_optimizer_is_made(name, cls):
    parameter = torch.nn.Parameter(torch.zeros(2))
    made = Optim(name=name, lr=0.5, weight_decay=0.25).optimizer([parameter])
    assert type(made) is cls
    assert made.defaults["lr"] == 0.5
    assert made.defaults["weight_decay"] == 0.25
