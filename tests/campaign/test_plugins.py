"""Plugins with an author's mistakes: they work, or one line names the file and what is wrong."""

import re
from pathlib import Path

from forked import TRAIN, run
from hypothesis import strategies as st
from inputs import Campaign
from oracle import error_lines, judge, listing, refused, sound_run, unchanged

KIND = "plugins"

HEAD = """
import torch, sys
import torch.nn.functional as F
from torch import nn
from softprompt.core import (
    DATASETS, PROMPT_LEARNERS, TRAINERS, Dataset, Item, PromptLearner, Prompts, Trainer, context
)
"""
TRAINER = """
@TRAINERS.register({name})
class Mine({base}):
    def __init__(self, {arguments}):
        {init}

    def {method}(self, {taken}):
        {before}
        ce = F.cross_entropy(self.model(batch).logits, batch.labels)
        {after}
        return {returned}
"""
LEARNER = """
@PROMPT_LEARNERS.register({name})
class Mine({base}):
    def __init__(self, {arguments}):
        {init}
        {contents}

    def {method}(self, image_features=None):
        {before}
        return {returned}
"""
DATASET = """
@DATASETS.register({name})
class Mine({base}):
    folder = "mine"

    def __init__(self, {arguments}):
        {init}
        {contents}

    def {method}(self):
        {before}
        return {returned}
"""
NAMES = ('"mine"', '"mine"', '"mine"', '"mine"', "3", "None", '""', '"coop"', '"a b"', '"../x"')
BEFORE = (
    "pass", "pass", "pass", "raise ValueError('a\\nb')", "raise KeyError('x')", "sys.exit(3)",
    "1 / 0", "self.nothing", "raise Exception", "raise KeyboardInterrupt", "assert False",
    "torch.zeros(2) @ torch.zeros(3)", "undefined", "print('\\x1b[2J')", "torch.manual_seed(0)",
    "raise SystemExit('bye')", "raise MemoryError", "exit()",
)  # fmt: skip
# fmt: off
CHOICES = {
    "trainer": {
        "name": NAMES,
        "base": ("Trainer", "Trainer", "Trainer", "object", "nn.Module", "PromptLearner", "int"),
        "arguments": (
            "model", "model", "model, *, weight: float = 1.0", "", "model, weight", "*args",
            "model, *, weight", "model, *, weight=None", "model, *, weight=[]", "**options",
            "model, *, name='x'", "model, *, weight: int = 2.5", "model, weight=1.0", "cfg, data",
        ),
        "init": ("super().__init__(model)", "super().__init__(model)", "pass", "super().__init__()",
                 "super().__init__(model); self.model = None", "nn.Module.__init__(self)"),
        "method": ("loss", "loss", "loss", "step", "forward", "los"),
        "taken": ("batch", "batch", "batch", "", "batch, other", "*batch", "batch=None", "images"),
        "before": BEFORE,
        "after": (
            "pass", "pass", "pass", "self.update(ce)", "ce.backward()", "ce = ce.detach()",
            "ce = ce * 0", "ce = ce * float('nan')", "ce = torch.tensor(3.0)", "ce = ce.item()",
            "self.model = None", "batch.labels.add_(1)", "batch.images.zero_()", "ce = ce.double()",
            "[p.data.fill_(float('inf')) for p in self.model.params().values()]",
        ),
        "returned": (
            "{'ce': ce}", "{'ce': ce}", "{'ce': ce}", "dict(loss=ce)", "ce", "None", "{}", "(ce,)",
            "{'a\\nb': ce}", "{3: ce}", "{'ce': 1.0}", "{'ce': None}", "{'ce': ce.repeat(2)}",
            "{'ce': ce, 'x': ce.detach()}", "{'\\x1b[2J': ce}", "[ce]", "{'ce': ce.to('meta')}",
        ),
    },
    "learner": {
        "name": NAMES,
        "base": ("PromptLearner",) * 4 + ("nn.Module", "object", "Trainer", "dict"),
        "arguments": (
            "clip, classnames", "clip, classnames", "clip, classnames, *, n: int = 4", "clip", "",
            "classnames, clip", "*a, **k", "clip, classnames, n", "clip, classnames, *, n",
        ),
        "init": (
            "super().__init__('a photo of a {}.', 4)", "super().__init__('a photo of a {}.', 4)",
            "super().__init__('a photo', 4)", "super().__init__()", "pass",
            "nn.Module.__init__(self)", "super().__init__('a photo of a {}.', -1)",
            "super().__init__('a photo of a {}.', 99)",
            "super().__init__(3, 'x')", "super().__init__('{}', 0)", "super().__init__('{} {}', 1)",
        ),
        "contents": (
            "self.context = nn.Parameter(torch.randn(4, clip.text_width) * 0.02)",
            "self.context = nn.Parameter(torch.randn(4, clip.text_width) * 0.02)",
            "self.context = nn.Parameter(torch.zeros(4, 3))", "self.context = None",
            "self.context = nn.Parameter(torch.randn(4, clip.text_width) * float('nan'))",
            "self.context = torch.zeros(4, clip.text_width)", "pass",
            "self.context = nn.Parameter(torch.zeros(4, clip.text_width, dtype=torch.float64))",
            "self.context = nn.Parameter(torch.zeros(7, 4, clip.text_width))",
            "self.context = nn.Parameter(torch.empty(0, clip.text_width))", "clip.model = None",
        ),
        "method": ("forward", "forward", "forward", "prompts"),
        "before": BEFORE,
        "returned": (
            "Prompts(text=self.context)", "Prompts(text=self.context)", "Prompts()", "None", "3",
            "self.context", "Prompts(image=self.context)", "Prompts(text=3)", "{'text': 1}",
            "Prompts(text=self.context.detach())", "Prompts(text=[self.context])", "Prompts",
            "Prompts(text=self.context[None].expand(9, -1, -1))",
            "Prompts(text=self.context * 1e30)",
            "Prompts(texts=self.context)", "Prompts(text=self.context.double())",
        ),
    },
    "dataset": {
        "name": NAMES,
        "base": ("Dataset",) * 4 + ("object", "list", "Trainer"),
        "arguments": ("root", "root", "root, *, size: int = 3", "", "path, other", "*a"),
        "init": ("super().__init__(root)",) * 3 + ("pass", "super().__init__()"),
        "contents": (
            "self.image_dir = self.root; self.classnames = ('ant', 'bee')",
            "self.image_dir = self.root; self.classnames = ('ant', 'bee')",
            "self.image_dir = self.root; self.classnames = ['ant', 'bee']",
            "self.classnames = ('ant', 'bee')", "self.image_dir = self.root", "pass",
            "self.image_dir = self.root; self.classnames = ()",
            "self.image_dir = self.root; self.classnames = ('ant', 'ant')",
            "self.image_dir = self.root; self.classnames = 'ant'",
            "self.image_dir = self.root; self.classnames = (1, 2)",
            "self.image_dir = '/nope'; self.classnames = ('ant', 'bee')",
            "self.image_dir = self.root; self.classnames = ('ant', '\\x1b[2J')",
        ),
        "method": ("splits", "splits", "splits", "split"),
        "before": BEFORE,
        "returned": (
            "dict(train=[Item('a.png', 0), Item('b.png', 1)], val=[], test=[Item('a.png', 0)])",
            "dict(train=[Item('a.png', 0), Item('b.png', 1)], val=[], test=[Item('a.png', 0)])",
            "dict(train=[], val=[], test=[])", "dict(train=[Item('a.png', 0)])", "None", "[]", "3",
            "dict(train=[('a.png', 0)], val=[], test=[])", "dict(train=3, val=3, test=3)",
            "dict(train=[Item('a.png', 5)], val=[], test=[])", "{}", "dict(train='ab')",
            "dict(train=[Item('nope.png', 0)], val=[], test=[Item('a.png', 0)])",
            "dict(train=[Item('a.png', '0')], val=[], test=[])",
            "dict(train=[Item(3, 0)], val=[], test=[Item('a.png', 0)])",
            "dict(train=[Item('../../x.png', 0)], val=[], test=[Item('a.png', 0)])",
            "dict(train=[Item('a.png', 0)], val=[], test=[])",
        ),
    },
}
# fmt: on
TEMPLATES = {"trainer": TRAINER, "learner": LEARNER, "dataset": DATASET}
NODES = {"trainer": "TRAINER.NAME", "learner": "PROMPT.NAME", "dataset": "DATASET.NAME"}


@st.composite
def plugins(draw) -> tuple[str, str]:
    """Draw a plugin with one to three mistakes, or none."""
    kind = draw(st.sampled_from(sorted(CHOICES)))
    places = {place: choices[0] for place, choices in CHOICES[kind].items()}
    for place in draw(st.lists(st.sampled_from(sorted(places)), max_size=3, unique=True)):
        places[place] = draw(st.sampled_from(CHOICES[kind][place]))
    return kind, HEAD + TEMPLATES[kind].format(**places)


def train_with(kind: str, text: str, folder: Path, file: str = "plugin.py") -> None:
    from PIL import Image

    (folder / file).write_text(text)
    for name in "ab":
        Image.new("RGB", (30, 30), (90, 20, 20)).save(folder / f"{name}.png")
    before = listing(folder)
    words = ("PLUGINS", f"['{file}']", NODES[kind], "mine", "DATASET.ROOT", ".")
    whole = "DATASET.SUBSAMPLE_CLASSES all TEST.CLASSES ('all',)".split()
    outcome = run("train", *TRAIN, "--output-dir", "run", *whole, *words, cwd=folder, timeout=60)
    if "raise KeyboardInterrupt" in text and outcome.code == 130:
        return
    judge(outcome, (0, 1, 2))
    after = {name for name in listing(folder) if "__pycache__" not in name}
    if outcome.code:
        # A mistake of the setting's is no author's; what the class or file is called must be there.
        line = error_lines(outcome)[0]
        diverged = re.search(r"the term '.*' is (nan|inf)|is not finite", line)
        named = "plugin.py" in line or "Mine" in line or "'mine'" in line
        assert named or diverged, f"whose fault? {outcome}"
        assert not (folder / "run/results.json").exists()
    if refused(outcome) and "run/config.yaml" not in after:
        unchanged(before, folder)
    if outcome.code == 0:
        sound_run(folder / "run")


def test_plugins_with_mistakes(campaign: Campaign):
    campaign.run(plugins(), lambda case, folder: train_with(*case, folder), inputs=300)


FILES = (
    "", "\n", "import", "def f(:\n  pass", "\tx", "import nothing_like_this",
    "import sys; sys.exit(0)",
    "raise SystemExit", "raise ValueError('a\\nb\\nc')", "1/0", "\x00", "# -*- coding: nope -*-",
    "from softprompt.core import nothing", "while True: break", "print('hello')", "x = '\ud800'",
    "from softprompt.core import *", "import softprompt; softprompt.x", "exit()", "open('/nope/x')",
    "from plugin import x", "raise KeyboardInterrupt", "assert 0, 'no'", "é = 1", "import trainers",
)  # fmt: skip


def test_files_that_are_no_plugins(campaign: Campaign):
    def check(text: str, folder: Path) -> None:
        train_with("trainer", text.encode("utf-8", "replace").decode(), folder)

    campaign.run(st.sampled_from(FILES), check, inputs=len(FILES))
