"""A loss that reaches no trained tensor ends at its first step; unreached tensors are named."""

import logging
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from softprompt.core.base.errors import UserError
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.engine.loop import fit
from softprompt.core.engine.optim import Optim
from softprompt.core.engine.reach import Reach
from softprompt.core.engine.trainer import Trainer
from softprompt.core.prompts.base import PromptLearner, Prompts


class Epochs:
    """An epoch of one batch."""

    def __init__(self, batch):
        self.batch = batch

    def __len__(self):
        return 1

    def epoch(self, epoch, start=0):
        return iter([self.batch])


class CrossEntropy(Trainer):
    def loss(self, batch):
        return {"ce": F.cross_entropy(self.model(batch).logits, batch.labels)}


class Detached(Trainer):
    def loss(self, batch):
        return {"ce": F.cross_entropy(self.model(batch).logits.detach(), batch.labels)}


class DetachedStep(Trainer):
    """A step of its own, on a graph that holds no prompt."""

    def __init__(self, model):
        super().__init__(model)
        self.scale = nn.Parameter(torch.ones(()))

    def step(self, batch):
        loss = F.cross_entropy(self.scale * self.model(batch).logits.detach(), batch.labels)
        self.update(self.gradients(loss))
        return {"ce": loss}


class Backward(Trainer):
    """A step that leaves this class's ``gradients`` and ``update`` out."""

    def step(self, batch):
        loss = F.cross_entropy(self.model(batch).logits, batch.labels)
        loss.backward()
        self.optimizers["prompts"].step()
        self.optimizers["prompts"].zero_grad()
        return {"ce": loss}


class ByHand(Trainer):
    """Gradients without autograd."""

    @torch.no_grad()
    def step(self, batch):
        self.update({name: torch.ones_like(p) for name, p in self.model.params().items()})
        return {"ce": torch.zeros(())}


class LateStep(CrossEntropy):
    """No step on the first batch it meets."""

    seen = 0

    def step(self, batch):
        self.seen += 1
        return super().step(batch) if self.seen > 1 else {}


class Spare(PromptLearner):
    """A learner of CoOp's kind with a tensor that its prompts do not depend on."""

    def __init__(self, clip, used: bool):
        super().__init__("X {}.", 1)
        self.used = used
        self.context = nn.Parameter(0.02 * torch.randn(1, clip.text_width))
        self.spare = nn.Parameter(torch.ones(3))

    def forward(self, image_features=None):
        return Prompts(text=self.context if self.used else self.context.detach())


HEADER = {"learner": "plain", "trainer": "plain", "classnames": [], "config": {}}
HEADER |= {"backbone": {"name": "small"}}


def prepared(trainer, model, epochs=1):
    method = trainer(model)
    method.prepare(Optim(lr=0.01, epochs=epochs, warmup_epochs=0))
    return method


@pytest.mark.parametrize("trainer", [Detached, DetachedStep])
def test_a_loss_that_reaches_nothing_is_refused(trainer, clip, batch, make_model, tmp_path):
    method = prepared(trainer, make_model("coop", clip))
    with pytest.raises(UserError, match="reaches none of the 1 trained tensors") as error:
        fit(method, Epochs(batch), folder=tmp_path, seed=1, meta=HEADER)
    assert trainer.__name__ in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "checkpoints").exists()


def test_a_learner_whose_prompts_have_no_graph_is_refused(clip, batch, names, tmp_path):
    method = prepared(CrossEntropy, PromptedCLIP(clip, Spare(clip, used=False), names))
    with pytest.raises(UserError, match="reaches none of the 2 trained tensors"):
        fit(method, Epochs(batch), folder=tmp_path, seed=1, meta=HEADER)


@pytest.mark.parametrize("trainer", [CrossEntropy, Backward, LateStep])
def test_an_unreached_tensor_is_named(trainer, clip, batch, names, tmp_path, caplog):
    method = prepared(trainer, PromptedCLIP(clip, Spare(clip, used=True), names), epochs=3)
    with caplog.at_level(logging.WARNING, "softprompt"):
        fit(method, Epochs(batch), folder=tmp_path, seed=1, meta=HEADER)
    *earlier, warning = method.warnings
    assert len(earlier) == (trainer is LateStep)  # nothing has changed in its first epoch
    assert "does not reach 1 of the 2 trained tensors in the first step: spare" in warning
    assert caplog.text.count(warning) == 1

    again = prepared(trainer, PromptedCLIP(clip, Spare(clip, used=True), names), epochs=3)
    fit(again, Epochs(batch), folder=tmp_path, seed=1, meta=HEADER)  # nothing left to train
    assert again.warnings == method.warnings


@pytest.mark.parametrize("limit", [1.0, 1e-6])
def test_an_unreached_tensor_is_named_in_chunks_too(limit, make_clip, batch, names, tmp_path):
    clip = make_clip()
    clip.memory_limit = limit
    method = prepared(CrossEntropy, PromptedCLIP(clip, Spare(clip, used=True), names))
    fit(method, Epochs(batch), folder=tmp_path, seed=1, meta=HEADER)
    assert "trained tensors in the first step: spare" in method.warnings[0]


class Idle(CrossEntropy):
    """A step that never reaches an optimizer."""

    def step(self, batch):
        return self.loss(batch)


class Zero(CrossEntropy):
    """A loss whose gradients are all zero."""

    def loss(self, batch):
        return {"ce": 0 * super().loss(batch)["ce"]}


@pytest.mark.parametrize(
    ("trainer", "decay", "says"),
    [
        (
            Idle,
            5e-4,
            ["no trained tensor changed in the first epoch, under .*Idle .*test_reach.py"],
        ),
        (Zero, 5e-4, ["the gradients of Zero are zero for all 1 trained tensors"]),
        (Zero, 0.0, ["the gradients of Zero are zero", "no trained tensor changed"]),
        (CrossEntropy, 5e-4, []),
    ],
)
def test_a_training_that_changes_nothing_warns(
    trainer, decay, says, clip, batch, make_model, tmp_path
):
    method = trainer(make_model("coop", clip))
    method.prepare(Optim(lr=0.01, epochs=2, warmup_epochs=0, weight_decay=decay))
    fit(method, Epochs(batch), folder=tmp_path, seed=1, meta=HEADER)
    assert len(method.warnings) == len(says)
    for pattern, warning in zip(says, method.warnings, strict=True):
        assert re.search(pattern, warning)


def test_gradients_by_hand_count(clip, batch, make_model, tmp_path):
    method = prepared(ByHand, make_model("coop", clip))
    fit(method, Epochs(batch), folder=tmp_path, seed=1, meta=HEADER)
    assert method.warnings == []


def test_every_method_reaches_every_tensor_and_is_not_changed(
    any_learner, any_trainer, clip, batch, make_model, make_trainer
):
    trained = []
    for watched in (False, True):
        method = make_trainer(any_trainer, make_model(any_learner, clip))
        torch.manual_seed(0)
        reach = Reach(method)
        if watched:
            with reach.watching():
                method.step(batch)
            assert reach.stepped and reach.warnings() == []
        else:
            method.step(batch)
        trained.append(method.model.params())
    assert all(torch.equal(value, trained[1][name]) for name, value in trained[0].items())


def test_zeros_are_reached(clip, batch, names):
    """A part that starts at 0 behind a factor that does, too, has a gradient: zeros."""

    class Zero(Spare):
        def forward(self, image_features=None):
            return Prompts(text=self.context + 0 * self.spare.sum())

    method = prepared(CrossEntropy, PromptedCLIP(clip, Zero(clip, used=True), names))
    reach = Reach(method)
    with reach.watching():
        method.step(batch)
    assert reach.warnings() == []
