"""What ``tools/train.py`` says of a plugin whose class does not do what its base class asks."""

import json

import pytest

QUICK = "DATASET.NUM_SHOTS 2 OPTIM.MAX_EPOCH 1 OPTIM.WARMUP_EPOCH 0 TEST.MAX_IMAGES 20".split()
METHOD = """
import torch
import torch.nn.functional as F
from torch import nn
from softprompt.core import PROMPT_LEARNERS, TRAINERS, PromptLearner, Prompts, Trainer, context

@TRAINERS.register("mine")
class Mine(Trainer):
    def {body}

@PROMPT_LEARNERS.register("spare")
class Spare(PromptLearner):
    def __init__(self, clip, classnames):
        template, start = context(clip, "a photo of a", 4)
        super().__init__(template, 4)
        self.context = nn.Parameter(start)
        self.spare = nn.Parameter(torch.zeros(2))

    def forward(self, image_features=None):
        return Prompts(text=self.context)
"""
CE = "ce = F.cross_entropy(self.model(batch).logits, batch.labels)"


@pytest.fixture
def train(load_tool, root, plugin_file, tmp_path, capsys, monkeypatch):
    """Train by a method with this body; return the exit status, what is said and the folder."""
    monkeypatch.chdir(tmp_path)

    def train(body: str, *options: str):
        file = plugin_file(METHOD.format(body=body))
        config = ["--config-file", str(root / "configs/coop/tiny.yaml"), "--output-dir", "run"]
        words = [*config, *QUICK, "PLUGINS", f"['{file}']", "TRAINER.NAME", "mine", *options]
        status = load_tool("train").main([*words, "MODEL.BACKBONE.PRETRAINED", ""])
        return status, capsys.readouterr().err, tmp_path / "run"

    return train


def test_a_loss_of_nothing_trained(train):
    status, said, run = train(
        f"loss(self, batch):\n        {CE}\n        return dict(ce=ce.detach())"
    )
    assert status == 2
    assert "the loss of Mine reaches none of the 1 trained tensors (context)" in said
    assert not (run / "results.json").exists()


def test_a_tensor_that_gets_no_gradient(train):
    body = f"loss(self, batch):\n        {CE}\n        return dict(ce=ce)"
    status, _, run = train(body, "PROMPT.NAME", "spare")
    assert status == 0
    warning = "does not reach 1 of the 2 trained tensors in the first step: spare"
    assert warning in json.loads((run / "results.json").read_text())["warnings"][-1]
    assert (run / "log.txt").read_text().count(warning) == 1


@pytest.mark.parametrize(
    ("method", "returns", "wrong"),
    [
        ("loss", "None", "None"),
        ("loss", "ce.item()", "a value of type float"),
        ("loss", "ce", "a tensor of shape ()"),
        ("loss", "dict()", "no term"),
        ("loss", "dict(ce=ce.item())", "a dict with 'ce': a value of type float"),
        ("loss", "dict(ce=ce.expand(3))", "a dict with 'ce': a tensor of shape (3,)"),
        ("loss", "{0: ce}", "a dict with 0: a tensor of shape ()"),
        ("step", "None", "None"),
        ("step", "dict(ce=1.5)", "a dict with 'ce': a value of type float"),
        ("step", "3.5", "a value of type float"),
    ],
)
def test_a_wrong_return_value_is_one_line(method, returns, wrong, train):
    status, said, run = train(f"{method}(self, batch):\n        {CE}\n        return {returns}")
    assert status == 2
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert f"Mine ({run.parent / 'my_plugin.py'}): {method}() returned {wrong}; it must" in line
    assert 'such as {"ce": F.cross_entropy(logits, batch.labels)}' in line
    assert "Traceback" not in said


def test_a_step_may_log_nothing(train):
    body = """step(self, batch):
        loss = F.cross_entropy(self.model(batch).logits, batch.labels)
        self.update(self.gradients(loss))
        return {}"""
    status, _, run = train(body)
    assert status == 0
    assert (run / "results.json").is_file()
