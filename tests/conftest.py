"""What the tests share: the checkout as ``softprompt``, one thread, a small random CLIP."""

import copy
import functools
import importlib.util
import json
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "oracle")]
import _checkout  # noqa: E402, F401

torch.set_num_threads(1)
NAMES = ("song bird", "jet_airplane", "dog", "container ship", "tree")


def pytest_configure(config):
    from softprompt.core.base.plugins import import_built_in

    import_built_in()


def pytest_ignore_collect(collection_path, config):
    """Leave the campaign out unless it is named: it takes many minutes."""
    campaign = ROOT / "tests" / "campaign"
    asked = any("campaign" in str(word) for word in config.invocation_params.args)
    return True if collection_path == campaign and not asked else None


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU, and torch sees none")


def pytest_generate_tests(metafunc):
    """Run a test of ``any_learner`` or ``any_trainer`` with all of them, a plugin's included."""
    from softprompt.core.base.registry import TRAINERS

    if "any_learner" in metafunc.fixturenames:
        metafunc.parametrize("any_learner", trained_learners(Sizes()))
    if "any_trainer" in metafunc.fixturenames:
        metafunc.parametrize("any_trainer", TRAINERS.names())


class Sizes:
    """The sizes of the small CLIP, which is built if a learner asks for something else of it.

    Tests are collected by learners, and open_clip alone takes a second to import.
    """

    dim, text_width, image_width, text_depth, image_depth = 32, 48, 64, 3, 3

    def embed_words(self, phrase: str) -> torch.Tensor:
        return torch.zeros(77, self.text_width)

    def __getattr__(self, name: str):
        return getattr(build_small_clip(), name)


def trained_learners(clip) -> list[str]:
    """Return the registered prompt learners that have something to train."""
    from softprompt.core.base.registry import PROMPT_LEARNERS

    def trains(name: str) -> bool:
        learner = PROMPT_LEARNERS[name](clip, NAMES, **SMALL_OPTIONS.get(name, {}))
        return any(True for _ in learner.parameters())

    return [name for name in PROMPT_LEARNERS.names() if trains(name)]


@pytest.fixture
def learners(clip) -> list[str]:
    return trained_learners(clip)


@pytest.fixture
def root() -> Path:
    return ROOT


@functools.cache
def import_tool(name: str):
    """Import a command of tools/ by its file."""
    spec = importlib.util.spec_from_file_location(f"{name}_tool", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def load_tool():
    return import_tool


@pytest.fixture(autouse=True)
def no_handlers_left():
    """Remove what a tool writes its messages with: it writes to what this test captures."""
    from softprompt.core.base.log import logger

    yield
    logger.handlers.clear()
    logger.propagate = True  # or pytest would add handlers of its own


@functools.cache
def small_model(layers: int):
    """The model of ``build_small_clip``, and its tokenizer, which takes longer to make."""
    import open_clip

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(
            embed_dim=32,
            quick_gelu=True,
            vision_cfg={
                "image_size": 32,
                "layers": layers,
                "width": 64,
                "patch_size": 16,
                "head_width": 32,
            },
            text_cfg={
                "context_length": 77,
                "vocab_size": 49408,
                "width": 48,
                "heads": 2,
                "layers": layers,
            },
        )
        for name, value in model.named_parameters():
            if ".ln_" in name or name.endswith("bias") or name.startswith("ln_"):
                value.data += 0.1 * torch.randn_like(value)  # else they could be left out unnoticed
        model.token_embedding.weight.data *= 10
        model.logit_scale.data.fill_(3.0)
    return model, open_clip.get_tokenizer("ViT-B-16")


def build_small_clip(dtype: torch.dtype = torch.float32, layers: int = 3, **options):
    """A random CLIP of OpenAI's kind, small enough that a training step takes milliseconds."""
    from softprompt.core.clip.frozen import FrozenCLIP

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        model, tokenizer = small_model(layers)
    finally:
        torch.set_default_dtype(usual)
    model = copy.deepcopy(model).to(dtype)
    return FrozenCLIP(model, tokenizer, name="small", weights="random", **options)


@pytest.fixture(scope="session")
def clip():
    return build_small_clip()


@pytest.fixture
def make_clip():
    return build_small_clip


@pytest.fixture
def names() -> tuple[str, ...]:
    return NAMES


def build_batch(size: int = 8, dtype: torch.dtype = torch.float32):
    from softprompt.core.data.batch import Batch

    generator = torch.Generator().manual_seed(3)
    images = torch.randn(size, 3, 32, 32, generator=generator).to(dtype)
    return Batch(images, torch.arange(size) % len(NAMES))


@pytest.fixture
def batch():
    return build_batch()


@pytest.fixture
def make_batch():
    return build_batch


# Learners and trainers of the matrix are built at a size that the small CLIP has.
SMALL_OPTIONS = {
    "ivlp": {"prompt_depth_text": 3, "prompt_depth_vision": 3},
    "vpt": {"prompt_depth_vision": 3},
    "maple": {"prompt_depth": 3},
    "language_only": {"prompt_depth": 3},
    "promptsrc": {"gpa_mean": 2.0},
}


def build_model(name: str, clip, classnames=NAMES, **options):
    """A model with a prompt learner from the registry, always with the same start."""
    from softprompt.core.base.registry import PROMPT_LEARNERS
    from softprompt.core.base.seeding import seeded
    from softprompt.core.clip.prompted import PromptedCLIP

    with seeded(0, "init"):
        options = SMALL_OPTIONS.get(name, {}) | options
        learner = PROMPT_LEARNERS[name](clip, classnames, **options)
    learner.to(clip.model.logit_scale.dtype)
    return PromptedCLIP(clip, learner, classnames)


def build_trainer(name: str, model, epochs: int = 3, lr: float = 0.01, **options):
    from softprompt.core.base.registry import TRAINERS
    from softprompt.core.base.seeding import seeded
    from softprompt.core.engine.optim import Optim

    with seeded(0, "trainer"):
        trainer = TRAINERS[name](model, **(SMALL_OPTIONS.get(name, {}) | options))
    trainer.to(model.clip.model.logit_scale.dtype)
    trainer.prepare(Optim(lr=lr, epochs=epochs, warmup_epochs=0))
    trainer.start_epoch(0)
    return trainer


@pytest.fixture
def make_model():
    return build_model


@pytest.fixture
def make_trainer():
    return build_trainer


@contextmanager
def plugins_forgotten():
    """Forget afterwards what plugins register meanwhile."""
    from softprompt.core.base.registry import DATASETS, PROMPT_LEARNERS, TRAINERS

    registries = (DATASETS, PROMPT_LEARNERS, TRAINERS)
    before = [dict(registry._classes) for registry in registries]
    yield
    for registry, classes in zip(registries, before, strict=True):
        registry._classes.clear()
        registry._classes.update(classes)
    for module in [name for name in sys.modules if name.startswith("softprompt_plugin_")]:
        del sys.modules[module]


@pytest.fixture
def plugin_file(tmp_path):
    """Write a plugin and return its path; what it registers is forgotten after the test."""

    def write(text: str, name: str = "my_plugin.py") -> Path:
        file = tmp_path / name
        file.write_text(text)
        return file

    with plugins_forgotten():
        yield write


@pytest.fixture(scope="module")
def module_plugin_file(tmp_path_factory):
    """The same for all tests of a module."""

    def write(text: str, name: str) -> Path:
        file = tmp_path_factory.mktemp("plugin") / name
        file.write_text(text)
        return file

    with plugins_forgotten():
        yield write


# What two methods score on base classes, by dataset and seed; on new classes it is 10 less.
ACCURACY = {
    "coop": {"dtd": (70.0, 71.0, 75.0), "eurosat": (80.0, 82.0, 81.0)},
    "maple": {"dtd": (74.0, 75.0, 78.0), "eurosat": (84.0, 87.0, 85.0)},
}


def build_results(base: float) -> dict:
    """Return what results.json holds of a run, as far as a report reads it."""
    scores = {"base": {"accuracy": base}, "new": {"accuracy": base - 10}, "all": {"accuracy": base}}
    return {
        "results": {"zero-shot CLIP": scores | {"base": {"accuracy": 53.0}}, "a": scores},
        "warnings": [],
        "split": {"note": ""},
        "sampled": {},
        "config": {"TEST": {"SPLIT": "test", "TEMPLATES": "coop"}},
        "backbone": {"name": "ViT-B/16", "weights": "openai"},
        "environment": {"device": "abacus"},
        "trained_parameters": 2048,
        "seconds": {"train": 60.0, "evaluate": 2.0},
        "processor_seconds": {"prepare": 1.0, "train": 40.0, "evaluate": 3.0, "shared": 5.0},
        "threads": 2,
        "peak_memory": {"process": 500_000_000, "gpu": None},
    }


def write_protocol_runs(out: Path) -> Path:
    """Write the results of two methods through two protocols; return their folder."""
    places = ["base2new/{}/vit_b16/{}/shots_16"]
    places += ["few_shot/{}/vit_b16/{}/shots_" + str(shots) for shots in (4, 8)]
    for method, datasets in ACCURACY.items():
        for dataset, bases in datasets.items():
            for seed, base in enumerate(bases, 1):
                for place in places:
                    folder = out / place.format(method, dataset) / f"seed_{seed}"
                    folder.mkdir(parents=True)
                    (folder / "results.json").write_text(json.dumps(build_results(base)))
    return out


@pytest.fixture
def protocol_runs(tmp_path) -> Path:
    return write_protocol_runs(tmp_path / "out")


@pytest.fixture(scope="module")
def kept_protocol_runs(tmp_path_factory) -> Path:
    """The same runs, for tests that only read them."""
    return write_protocol_runs(tmp_path_factory.mktemp("runs") / "out")
