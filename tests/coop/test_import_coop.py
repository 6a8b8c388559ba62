"""``tools/import_coop.py``: official checkpoints and YAML files, and files that mean harm."""

import json
import os
import pickle
import random
import resource
import shlex
import struct
import sys
import types
import zipfile
from collections import Counter, OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from softprompt.core.base.errors import UserError
from softprompt.core.base.registry import PROMPT_LEARNERS
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.config.load import load_config
from softprompt.core.coop import convert, importing, outline
from softprompt.core.coop.reading import read_checkpoint
from softprompt.core.engine import checkpoint
from softprompt.core.studies.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
RECORDS = sorted(file.stem for file in GOLDEN.glob("*.json") if "sha256" not in file.name)
LEARNER_ALONE = ("CoOp", "CoCoOp", "ProGrad", "KgCoOp")  # the others save all of CLIP
FOLDERS = {"MaPLe": "MultiModalPromptLearner", "IVLP": "VLPromptLearner"}
FOLDERS |= {"PromptSRC": "VLPromptLearner", "ProMetaR": "VLPromptLearner"}
TINY = ["--backbone", "tiny", "MODEL.BACKBONE.PRETRAINED", "", "DATASET.NAME", "shapes"]
WIDTH = 128  # of the backbone tiny


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("import_coop")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe(GOLDEN / "recipe.py")


@pytest.fixture(scope="module")
def recipe_clip(recipe):
    return recipe.build_clip()


@pytest.fixture
def run(tool, tmp_path, monkeypatch, capsys):
    """Run the tool in an empty folder; return what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> str:
        assert tool.main([*map(str, arguments)]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.fixture
def mistake(tool, tmp_path, monkeypatch, capsys):
    """Run what must fail; return the one line it says."""
    monkeypatch.chdir(tmp_path)

    def mistake(*arguments) -> str:
        assert tool.main([*map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        return said

    return mistake


def official_yaml(method: str, **values) -> str:
    """A method's YAML file, written as the official ones are."""
    node = {"ProGrad": "COOP", "KgCoOp": "COOP"}.get(method, method.upper())
    own = "".join(f"    {key}: {value}\n" for key, value in values.items() if key.isupper())
    vnet = f"OPTIM_VNET:\n{optim(0.00025, 10, '1e-6')}" if method == "ProMetaR" else ""
    loss = 'LOSS:\n  NAME: "prograd"\n  T: 1.0\n' if method == "ProGrad" else ""
    return f"""# {method}
DATALOADER:
  TRAIN_X:
    BATCH_SIZE: {values["batch"]}
  TEST:
    BATCH_SIZE: 100
  NUM_WORKERS: 8

INPUT:
  SIZE: (224, 224)
  INTERPOLATION: "bicubic"
  PIXEL_MEAN: [0.48145466, 0.4578275, 0.40821073]
  PIXEL_STD: [0.26862954, 0.26130258, 0.27577711]
  TRANSFORMS: ["random_resized_crop", "random_flip", "normalize"]

OPTIM:
{optim(values["lr"], values["epochs"], "1e-5")}
TRAIN:
  PRINT_FREQ: 20

MODEL:
  BACKBONE:
    NAME: "ViT-B/16"

{vnet}{loss}TRAINER:
  {node}:
    PREC: "fp16"
{own}"""


def optim(lr: float, epochs: int, warmup: str) -> str:
    return f"""  NAME: "sgd"
  LR: {lr}
  MAX_EPOCH: {epochs}
  LR_SCHEDULER: "cosine"
  WARMUP_EPOCH: 1
  WARMUP_TYPE: "constant"
  WARMUP_CONS_LR: {warmup}
"""


PHRASE = '"a photo of a"'
VL = {"CTX_INIT": PHRASE, "N_CTX_VISION": 4, "N_CTX_TEXT": 4}
VL |= {"PROMPT_DEPTH_VISION": 9, "PROMPT_DEPTH_TEXT": 9}
# What the official YAML files set.
YAMLS = {
    "CoOp": {"batch": 32, "lr": 0.002, "epochs": 200, "CTX_INIT": PHRASE},
    "CoCoOp": {"batch": 1, "lr": 0.002, "epochs": 10, "N_CTX": 4, "CTX_INIT": PHRASE},
    "ProGrad": {"batch": 32, "lr": 0.002, "epochs": 100, "CTX_INIT": True},
    "KgCoOp": {"batch": 128, "lr": 0.002, "epochs": 100, "CTX_INIT": True},
    "VPT": {"batch": 4, "lr": 0.0025, "epochs": 5, "CTX_INIT": PHRASE}
    | {"N_CTX_VISION": 8, "PROMPT_DEPTH_VISION": 12},
    "IVLP": {"batch": 4, "lr": 0.0035, "epochs": 5, **VL, "N_CTX_VISION": 2, "N_CTX_TEXT": 2}
    | {"PROMPT_DEPTH_VISION": 12, "PROMPT_DEPTH_TEXT": 12},
    "MaPLe": {"batch": 4, "lr": 0.0035, "epochs": 5, "N_CTX": 2, "CTX_INIT": PHRASE}
    | {"PROMPT_DEPTH": 9},
    "PromptSRC": {"batch": 4, "lr": 0.0025, "epochs": 20, **VL, "TEXT_LOSS_WEIGHT": 25}
    | {"IMAGE_LOSS_WEIGHT": 10, "GPA_MEAN": 15, "GPA_STD": 1},
    "ProMetaR": {"batch": 4, "lr": 0.0025, "epochs": 10, **VL},
}


def yaml_file(folder: Path, method: str, **changes) -> Path:
    file = folder / f"{method}.yaml"
    file.write_text(official_yaml(method, **(YAMLS[method] | changes)))
    return file


class ConstantWarmupScheduler:
    """Stands for Dassl's, an object of which is in every official checkpoint."""


def save_official(file: Path, state: dict, epoch: int = 5, old: bool = False, **more) -> Path:
    """Write a checkpoint as Dassl does, with an optimizer and its schedule pickled in it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    weight = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float16))
    optimizer = torch.optim.SGD([weight], lr=0.002, momentum=0.9)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10.0)
    names = ("dassl", "dassl.optim", "dassl.optim.lr_scheduler")
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    sys.modules[names[-1]].ConstantWarmupScheduler = ConstantWarmupScheduler
    ConstantWarmupScheduler.__module__ = names[-1]
    try:
        content = {
            "state_dict": OrderedDict(state),
            "epoch": epoch,
            "optimizer": optimizer.state_dict(),
            "scheduler": {"successor": schedule, "warmed": ConstantWarmupScheduler()},
            "val_result": np.float64(81.5),
            **more,
        }
        torch.save(content, file, _use_new_zipfile_serialization=not old)
    finally:
        for name in names:
            del sys.modules[name]
    return file


def words_around(classes: int, n: int, width: int) -> dict:
    """The buffers that every official prompt learner has, of no use here."""
    prefix, suffix = torch.zeros(classes, 1, width), torch.zeros(classes, 76 - n, width)
    return {"prompt_learner.token_prefix": prefix, "prompt_learner.token_suffix": suffix}


def state_of(method: str, prompts: dict, clip, classes: int) -> dict:
    """An official state dict with these prompts, by their official full names."""
    n = prompts["prompt_learner.ctx"].shape[-2] if "prompt_learner.ctx" in prompts else 0
    buffers = words_around(classes, n, clip.text_width) if n else {}
    if method in LEARNER_ALONE:
        if method == "KgCoOp":
            buffers["prompt_learner.bias_vectors"] = torch.zeros(1, 512)
            buffers["prompt_learner.meta_net.linear1.weight"] = torch.zeros(512, 512)
        both = prompts | buffers
        return {name.removeprefix("prompt_learner."): value for name, value in both.items()}
    frozen = {}
    for name, value in clip.model.state_dict().items():
        if name.startswith("visual."):
            frozen[name.replace("visual.", "image_encoder.")] = value.half()
            if method in ("PromptSRC", "ProMetaR"):
                teacher = name.replace("visual.", "prompt_learner.ZS_image_encoder.")
                frozen[teacher] = value.half()
        elif name == "logit_scale":
            frozen[name] = value
        elif not name.startswith("token_embedding"):
            frozen[f"text_encoder.{name}"] = value.half()
    return buffers | prompts | frozen


def imported_logits(run: Path, clip, names, images) -> torch.Tensor:
    """The logits of a run's prompts, from its file alone."""
    file = checkpoint.find_prompts(run)
    tensors, header = checkpoint.load_prompts(file)
    learner = PROMPT_LEARNERS[header["learner"]](
        clip, tuple(header["classnames"]), **header["options"]
    )
    checkpoint.load_into(learner, tensors, file)
    with torch.no_grad():
        return PromptedCLIP(clip, learner, names)(images).logits


@pytest.mark.parametrize("method", RECORDS)
def test_an_official_checkpoint_gives_the_official_logits(
    method, run, recipe, recipe_clip, tmp_path, monkeypatch
):
    """The record's own command line and start values; the logits are the official code's."""
    for module in (convert, importing, outline):
        monkeypatch.setattr(module, "outline", lambda name: recipe_clip)
    record = json.loads((GOLDEN / f"{method}.json").read_text())
    start = record["init"]
    prompts = recipe.init(start["prompt"], start.get("seed", 7), start.get("std", 0.02))
    names = tuple(record["classnames"])
    state = state_of(method, prompts, recipe_clip, len(names))
    file = tmp_path / "seed1" / FOLDERS.get(method, "prompt_learner") / "model.pth.tar-5"
    save_official(file, state)
    (tmp_path / "names.txt").write_text("\n".join(names))
    (tmp_path / "caltech101.yaml").write_text("DATASET:\n  NAME: 'Caltech101'\n")
    words = list(record["official_config"])
    unphrased = {"CTX_INIT": '""'} if method == "CoOp" else {}  # as in its YAML for RN50
    words[words.index("--config-file") + 1] = str(yaml_file(tmp_path, method, **unphrased))
    words[words.index("--dataset-config-file") + 1] = "caltech101.yaml"

    said = run(
        tmp_path / "seed1",
        *words,
        *("MODEL.BACKBONE.NAME", "ViT-B/16", "--classnames", "names.txt", "--output-dir", "RUN"),
    )
    assert "NOT KNOWN" not in said
    for name in state:
        is_one_of_many = "_encoder." in name and "VPT" not in name
        assert is_one_of_many or name == "logit_scale" or name in said
    images = recipe.batches()[2]
    ours = imported_logits(tmp_path / "RUN", recipe_clip, names, images)
    theirs = torch.tensor(record["eval_logits_init"])
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()
    _, header = checkpoint.load_prompts(checkpoint.find_prompts(tmp_path / "RUN"))
    assert (header["epoch"], header["imported_from"]) == (5, method)
    assert header["classnames"] == list(names)


def test_all_nine_methods_are_covered():
    assert {*RECORDS, "KgCoOp"} == set(YAMLS)


def test_kgcoop_gives_the_logits_of_its_context(run, recipe, recipe_clip, tmp_path, monkeypatch):
    for module in (convert, importing, outline):
        monkeypatch.setattr(module, "outline", lambda name: recipe_clip)
    names = ("song bird", "dog", "tree_frog")
    context = recipe.init({"prompt_learner.ctx": [4, recipe_clip.text_width]}, 7, 0.02)
    state = state_of("KgCoOp", context, recipe_clip, 3)
    file = save_official(tmp_path / "prompt_learner" / "model.pth.tar-100", state, epoch=100)
    (tmp_path / "names.txt").write_text("\n".join(names))
    said = run(
        *(file, "--config-file", yaml_file(tmp_path, "KgCoOp"), "--classnames", "names.txt"),
        *("--output-dir", "RUN", "DATASET.NAME", "Food101", "TRAINER.COOP.W", "8.0"),
    )
    assert "bias_vectors, meta_net.linear1.weight: made, but never used" in said
    images = recipe.batches()[2]
    learner = PROMPT_LEARNERS["coop"](recipe_clip, names, n_ctx=4, ctx_init="a photo of a")
    learner.context.data = context["prompt_learner.ctx"]
    with torch.no_grad():
        expected = PromptedCLIP(recipe_clip, learner, names)(images).logits
    assert torch.equal(imported_logits(tmp_path / "RUN", recipe_clip, names, images), expected)
    cfg = load_config(str(tmp_path / "RUN" / "config.yaml"))
    assert (cfg.TRAINER.NAME, cfg.TRAINER.KGCOOP.WEIGHT) == ("kgcoop", 8.0)


@pytest.mark.parametrize("method", YAMLS)
def test_an_official_yaml_becomes_the_configuration_that_comes_with_the_project(
    method, run, tmp_path
):
    pairs = ["DATASET.NAME", "Caltech101", "DATASET.NUM_SHOTS", 16, "SEED", 3]
    pairs += ["TRAINER.COOP.W", "8.0"] if method == "KgCoOp" else []
    file = yaml_file(tmp_path, method)
    said = run("--config-only", "ours.yaml", "--trainer", method, "--config-file", file, *pairs)
    assert f"TRAINER.{'COOP' if method in LEARNER_ALONE[2:] else method.upper()}.PREC fp16" in said
    assert said.count("not carried over") == 1
    ours = load_config(str(tmp_path / "ours.yaml"))
    shipped = load_config(
        str(ROOT / "configs" / method.lower() / "vit_b16.yaml"),
        pairs=["DATASET.NAME", "caltech101", "DATASET.NUM_SHOTS", "16", "SEED", "3"],
    )
    for node in ("PROMPT", "TRAINER", "OPTIM"):
        assert ours[node] == shipped[node], node
    assert ours.MODEL == shipped.MODEL
    assert ours.DATALOADER.TRAIN_X == shipped.DATALOADER.TRAIN_X
    assert (ours.SEED, ours.DATASET.NAME, ours.DATASET.NUM_SHOTS) == (3, "caltech101", 16)
    assert (ours.INPUT.SIZE, ours.INPUT.INTERPOLATION) == ((224, 224), "bicubic")
    assert ours.DATALOADER.NUM_WORKERS == 8


def test_the_yaml_wins_over_what_is_usual_and_a_pair_over_the_yaml(run, tmp_path):
    file = yaml_file(tmp_path, "MaPLe", PROMPT_DEPTH=3, lr=0.0026, epochs=2)
    words = ["--config-only", "a.yaml", "--config-file", file, "DATASET.NAME", "ImageNet"]
    said = run(*words, "OPTIM.MAX_EPOCH", 4, "--trainer", "maple", "--seed", 2)
    cfg = load_config(str(tmp_path / "a.yaml"))
    assert (cfg.PROMPT.MAPLE.PROMPT_DEPTH, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH) == (3, 0.0026, 4)
    assert (cfg.SEED, cfg.DATASET.NAME) == (2, "imagenet")
    assert "no --config-file" not in said


def test_what_a_yaml_leaves_open_is_as_in_the_official_code(run, tmp_path):
    """Dassl's optimizer is Adam, its interpolation bilinear; VPT's depth in train.py is 1."""
    file = tmp_path / "short.yaml"
    file.write_text("MODEL:\n  BACKBONE:\n    NAME: ViT-B/16\nOPTIM:\n  LR: 1e-3\n")
    said = run(
        *("--config-only", "a.yaml", "--trainer", "VPT", "--config-file", file),
        *("DATASET.NAME", "EuroSAT", "TEST.FINAL_MODEL", "best_val", "SEED", "-1"),
    )
    for part in ("'best_val'", "SEED -1"):
        assert f"{part}" in said
    cfg = load_config(str(tmp_path / "a.yaml"))
    # Dassl's single_step without a size takes no step.
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR_SCHEDULER) == ("adam", "constant")
    assert (cfg.INPUT.INTERPOLATION, cfg.DATALOADER.TRAIN_X.BATCH_SIZE) == ("bilinear", 32)
    assert (cfg.PROMPT.VPT.PROMPT_DEPTH_VISION, cfg.PROMPT.VPT.N_CTX_VISION) == (1, 2)
    assert (cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.LR) == (0, 0.001)


@pytest.mark.parametrize(
    ("pairs", "optimizer", "schedule", "says"),
    [
        ("OPTIM.NAME adam OPTIM.ADAM_BETA1 0.8", "adam", "cosine", ""),
        ("OPTIM.NAME adamw", "adamw", "cosine", ""),
        ("OPTIM.NAME radam", "sgd", "cosine", "only 'sgd', 'adam' or 'adamw'"),
        ("OPTIM.LR_SCHEDULER constant", "sgd", "constant", ""),
        ("OPTIM.LR_SCHEDULER single_step", "sgd", "constant", ""),
        ("OPTIM.LR_SCHEDULER multi_step OPTIM.STEPSIZE (199,)", "sgd", "constant", ""),
        (
            "OPTIM.LR_SCHEDULER multi_step OPTIM.STEPSIZE (198,)",
            "sgd",
            "cosine",
            "it is 'constant'",
        ),
        ("OPTIM.LR_SCHEDULER single_step OPTIM.STEPSIZE 3", "sgd", "cosine", "it is 'constant'"),
        (
            "OPTIM.LR_SCHEDULER linear",
            "sgd",
            "cosine",
            "only 'cosine', 'cosine_squared' or 'constant'",
        ),
    ],
)
def test_optimizers_and_schedules(pairs, optimizer, schedule, says, run, tmp_path):
    file = yaml_file(tmp_path, "CoOp")
    words = ["--trainer", "CoOp", "--config-file", file, "DATASET.NAME", "EuroSAT", *pairs.split()]
    said = run("--config-only", "a.yaml", *words)
    assert says in said and said.count("OPTIM.") == bool(says)
    cfg = load_config(str(tmp_path / "a.yaml"))
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR_SCHEDULER) == (optimizer, schedule)
    assert cfg.OPTIM.ADAM_BETA1 == (0.8 if "BETA1" in pairs else 0.9)


def test_prometar_keeps_sgd_which_its_gate_has_too(run, tmp_path):
    file = yaml_file(tmp_path, "ProMetaR")
    words = ["--config-file", file, "DATASET.NAME", "EuroSAT", "OPTIM.NAME", "adam"]
    assert "only 'sgd'\n" in run("--config-only", "a.yaml", "--trainer", "ProMetaR", *words)


@pytest.mark.parametrize(
    ("method", "missing"),
    [
        ("KgCoOp", "TRAINER.COOP.W (8.0) and DATASET.NUM_SHOTS (16, or 1 to 16)"),
        ("ProGrad", "LOSS.LAMBDA (1.0, or 0.8 with many shots) and DATASET.NUM_SHOTS"),
        ("MaPLe", "MaPLe also pass DATASET.NUM_SHOTS"),
    ],
)
def test_what_the_official_scripts_pass_beside_a_yaml_is_named(method, missing, run, tmp_path):
    words = ["--trainer", method, "--config-file", yaml_file(tmp_path, method)]
    said = run("--config-only", "a.yaml", *words, "DATASET.NAME", "EuroSAT")
    assert missing in said
    given = ["TRAINER.COOP.W", 8.0, "LOSS.LAMBDA", 0.8, "DATASET.NUM_SHOTS", 4]
    given = given[2:] if method != "KgCoOp" else given[:2] + given[4:]
    given = given[2:] if method == "MaPLe" else given
    assert "official scripts" not in run(
        "--config-only", "b.yaml", *words, "DATASET.NAME", "EuroSAT", *given
    )


def test_a_yaml_key_that_means_nothing_here_is_named(run, tmp_path):
    file = tmp_path / "fork.yaml"
    text = official_yaml("CoOp", **YAMLS["CoOp"]).replace('"normalize"', '"normalize", "cutout"')
    file.write_text(text + "    FANCY: 3\nMODEL_EMA: True\n")
    said = run("--config-only", "a.yaml", "--config-file", file, "--trainer", "CoOp", *TINY[4:])
    for name in ("TRAINER.COOP.FANCY", "MODEL_EMA", "there is no 'cutout'"):
        assert name in said


def coop_state(n: int = 4, classes: int | None = None) -> dict:
    shape = (n, WIDTH) if classes is None else (classes, n, WIDTH)
    generator = torch.Generator().manual_seed(1)
    context = {"prompt_learner.ctx": 0.02 * torch.randn(shape, generator=generator)}
    both = context | words_around(classes or 5, n, WIDTH)
    return {name.removeprefix("prompt_learner."): value for name, value in both.items()}


def context_of(run: Path) -> torch.Tensor:
    return checkpoint.load_prompts(checkpoint.find_prompts(run))[0]["context"]


BASE = [*TINY, "DATASET.SUBSAMPLE_CLASSES", "base", "--trainer", "CoOp"]


@pytest.fixture
def base_size() -> int:
    from softprompt.core.coop.files import classnames_of

    return len(classnames_of("shapes", "", "base"))


def save_plain(file: Path, base_size: int, **options) -> torch.Tensor:
    """Write a CoOp checkpoint for the base classes of shapes; return its context."""
    state = coop_state()
    state["token_prefix"] = torch.zeros(base_size, 1, WIDTH)
    save_official(file, state, **options)
    return state["ctx"]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64, torch.bfloat16])
def test_both_formats_of_torch_and_every_precision_are_read(old, dtype, run, tmp_path, base_size):
    whole = (0.02 * torch.randn(9, WIDTH)).to(dtype)
    state = {f"module.{name}": value for name, value in coop_state().items()}
    state["module.count"] = torch.arange(3)
    state["module.ctx"] = whole.T.contiguous().T[2:6]  # strided, from the middle of its store
    state["module.token_prefix"] = torch.zeros(base_size, 1, WIDTH, dtype=dtype)
    file = save_official(tmp_path / "model.pth.tar-7", state, epoch=7, old=old)
    assert zipfile.is_zipfile(file) is not old
    said = run(file, *BASE, "--output-dir", "RUN")
    assert torch.equal(context_of(tmp_path / "RUN"), whole[2:6].float())
    assert "NOT KNOWN, so left out: count" in said
    assert checkpoint.find_prompts(tmp_path / "RUN").parent.name == "epoch-7"


class Harm:
    """Pickled, it asks for a call when it is read."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def harms(target: str) -> list[Harm]:
    return [
        Harm(os.system, f"touch {target}"),
        Harm(exec, f"open({target!r}, 'w')"),
        Harm(open, target, "w"),
        Harm(getattr, Harm(__import__, "os"), "getcwd"),
        Harm(pickle.loads, pickle.dumps(Harm(os.system, f"touch {target}"))),
    ]


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("place", ["state_dict", "optimizer", "epoch"])
def test_code_in_a_checkpoint_is_never_run(index, old, place, mistake, tmp_path):
    target = tmp_path / "harmed"
    harm = harms(str(target))[index]
    state = coop_state()
    if place == "state_dict":
        state["ctx"] = harm
    more = {} if place == "state_dict" else {place: harm}
    file = save_official(tmp_path / "model.pth.tar-5", state, **{"old": old, **more})
    said = mistake(file, *BASE, "--output-dir", "RUN")
    assert "nothing in it was run" in said
    assert not target.exists()
    assert not (tmp_path / "RUN").exists()
    with suppress(Exception):  # there is no Dassl here
        torch.load(file, weights_only=False)
    assert target.exists() or index == 3  # the file would have done harm


@pytest.mark.parametrize("old", [False, True])
def test_functions_of_known_packages_are_not_called_either(old, run, tmp_path, base_size):
    target = tmp_path / "harmed"
    harm = Harm(torch.save, 1, str(target))
    file = tmp_path / "model.pth.tar-5"
    context = save_plain(file, base_size, old=old, val_result=harm)
    run(file, *BASE, "--output-dir", "RUN")
    assert torch.equal(context_of(tmp_path / "RUN"), context)
    assert not target.exists()


def test_a_bare_pickle_is_not_run(mistake, tmp_path):
    target = tmp_path / "harmed"
    file = tmp_path / "model.pth.tar-5"
    file.write_bytes(pickle.dumps(Harm(os.system, f"touch {target}")))
    assert "nothing in it was run" in mistake(file, *BASE)
    assert not target.exists()


def test_a_few_bytes_do_not_take_all_memory(mistake, tmp_path):
    file = tmp_path / "model.pth.tar-5"
    file.write_bytes(b"\x80\x02Nr" + struct.pack("<I", 2**26) + b".")  # keep None as number 2^26
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "cannot be read" in mistake(file, *BASE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_name_that_is_a_tower_of_tuples_takes_no_memory(mistake, tmp_path):
    """Each tuple holds the one before twice, so as text it has 2^60 parts."""
    file = tmp_path / "model.pth.tar-5"
    tower = b")" + b"2\x86" * 60
    pid = b"X\x07\x00\x00\x00storage" + b"N" + tower + b"NK\x01"
    file.write_bytes(b"\x80\x02(" + pid + b"tQ.")
    assert "a store of numbers without a name" in mistake(file, *BASE)


ORDERED = b"ccollections\nOrderedDict\n"


@pytest.mark.parametrize(
    "around",
    [
        (b"}", b"Ns."),  # the key of a dict, in each way that a pickle has to write one
        (b"}(", b"Nu."),
        (b"(", b"Nd."),
        (ORDERED + b")R", b"Ns."),
        (ORDERED + b"](](", b"Nee\x85R."),
        (b"\x8f(", b"\x90."),  # an element of a set
        (b"(", b"\x91."),
    ],
)
def test_a_tower_of_tuples_is_not_hashed(around, tmp_path):
    file = tmp_path / "model.pth.tar-5"
    before, after = around
    file.write_bytes(b"\x80\x02" + before + b")" + b"2\x86" * 60 + after)
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    "noop", [b"N0", b"(1", b"\x80\x02", b"\x95" + struct.pack("<Q", 2) + b"N0"]
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_without_end_is_refused_at_once(noop, zipped, mistake, tmp_path):
    file = tmp_path / "model.pth.tar-5"
    content = b"\x80\x02" + noop * (6_000_000 // len(noop)) + b"N."
    file.write_bytes(content)
    if zipped:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("archive/data.pkl", content)
    said = mistake(file, *BASE)
    assert "more than 1,000,000 steps" in said and str(file) in said


@pytest.mark.parametrize("old", [False, True])
def test_a_damaged_checkpoint_is_named(old, mistake, tmp_path, base_size):
    file = tmp_path / "model.pth.tar-5"
    save_plain(file, base_size, old=old)
    content = file.read_bytes()
    for length in (0, 10, 1000):
        file.write_bytes(content[:length])
        assert "model.pth.tar-5 cannot be read" in mistake(file, *BASE, "--output-dir", "RUN")
    assert not (tmp_path / "RUN").exists()


@pytest.mark.parametrize("old", [False, True])
def test_a_byte_changed_anywhere_ends_in_a_line_or_in_tensors(old, tmp_path, base_size):
    file = tmp_path / "model.pth.tar-5"
    save_plain(file, base_size, old=old)
    content, generator = file.read_bytes(), random.Random(0)
    ends = Counter()
    for _ in range(300):
        changed = bytearray(content)
        changed[generator.randrange(2500)] = generator.randrange(256)
        file.write_bytes(changed)
        try:
            read_checkpoint(file).tensors["ctx"].read()
            ends["read"] += 1
        except (UserError, KeyError):
            ends["refused"] += 1
    assert min(ends.values()) > 10


def test_numbers_beyond_their_store_are_refused(mistake, tmp_path, base_size):
    """A tensor that claims more than was stored must not read foreign memory."""
    file = tmp_path / "model.pth.tar-5"
    state = coop_state()
    state["token_prefix"] = torch.zeros(base_size, 1, WIDTH)
    save_official(file, state)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    store = next(name for name in parts if name.endswith("data/0"))
    parts[store] = parts[store][:-4]
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert "damaged" in mistake(file, *BASE, "--output-dir", "RUN")
    assert not (tmp_path / "RUN").exists()


def test_the_last_epoch_of_a_folder_is_taken_or_a_given_one(run, mistake, tmp_path, base_size):
    folder = tmp_path / "seed1"
    for epoch in (9, 10):
        save_plain(folder / "prompt_learner" / f"model.pth.tar-{epoch}", base_size, epoch=epoch)
    run(folder, *BASE, "--output-dir", "last")
    assert checkpoint.find_prompts(tmp_path / "last").parent.name == "epoch-10"
    run(folder, *BASE, "--load-epoch", 9, "--output-dir", "ninth")
    assert checkpoint.find_prompts(tmp_path / "ninth").parent.name == "epoch-9"
    assert "9, 10" in mistake(folder, *BASE, "--load-epoch", 3)
    save_plain(tmp_path / "best" / "prompt_learner" / "model-best.pth.tar", base_size, epoch=4)
    run(tmp_path / "best", *BASE, "--output-dir", "from-best")
    assert checkpoint.find_prompts(tmp_path / "from-best").parent.name == "epoch-4"


def test_the_official_test_command_is_understood(run, mistake, load_tool, tmp_path, base_size):
    """Trained on the base classes, to be tested on the new ones; it names many flags."""
    save_plain(tmp_path / "theirs" / "prompt_learner" / "model.pth.tar", base_size)
    words = ["--trainer", "CoOp", *TINY[:2], "--seed", 1, "--output-dir", "RUN"]
    words += ["--model-dir", "theirs", "--eval-only", "--no-train", "--head", "linear"]
    words += ["--resume", "x", "--transforms", "random_flip", "normalize"]
    words += ["--source-domains", "a", "b", "--target-domains", "c", *TINY[2:]]
    said = run(*words, "DATASET.SUBSAMPLE_CLASSES", "new")
    for flag in ("--no-train", "--head", "--resume", "--source-domains", "--target-domains"):
        assert said.count(f"not carried over: {flag}: ") == 1
    assert "--model-dir RUN --root DATA DATASET.SUBSAMPLE_CLASSES new\n" in said
    cfg = load_config(str(tmp_path / "RUN" / "config.yaml"))
    assert cfg.DATASET.SUBSAMPLE_CLASSES == "base"
    assert cfg.INPUT.TRANSFORMS == ("random_flip", "normalize")
    _, header = checkpoint.load_prompts(checkpoint.find_prompts(tmp_path / "RUN"))
    assert len(header["classnames"]) == base_size

    evaluation = said[said.index("--eval-only") :].replace(" --root DATA", "").split()
    assert load_tool("train").main([*evaluation, "TEST.MAX_IMAGES", "10"]) == 0
    found = json.loads((tmp_path / "RUN" / "eval" / "shapes-new" / "results.json").read_text())
    assert found["results"]["coop under erm"]["new"]["images"] == 10
    assert "no model.pth.tar-3" in mistake(*words, "--load-epoch", 3)


def test_a_test_on_another_dataset_than_the_trained_one(run, tmp_path):
    file = tmp_path / "prompt_learner" / "model.pth.tar-5"
    state = coop_state()
    state["token_prefix"] = torch.zeros(1000, 1, WIDTH)
    save_official(file, state)
    words = ["--trainer", "CoOp", *TINY, "--model-dir", tmp_path, "--load-epoch", 5]
    said = run(*words, "--eval-only", "--output-dir", "RUN")
    assert "it was trained on 1000 classes, so not on shapes" in said
    _, header = checkpoint.load_prompts(checkpoint.find_prompts(tmp_path / "RUN"))
    assert header["classnames"] == []


@pytest.mark.parametrize(("trainer", "sentences"), [("ZeroshotCLIP", 1), ("ZeroshotCLIP2", 7)])
def test_a_zero_shot_trainer_is_a_command(trainer, sentences, run, load_tool, tmp_path):
    words = ["--trainer", trainer, "--eval-only", "--output-dir", "a run"]
    said = run(*words, *TINY, "DATASET.SUBSAMPLE_CLASSES", "new")
    assert not (tmp_path / "a run").exists()
    ours = shlex.split(said[said.index("--eval-only") :])
    assert load_tool("train").main([*ours, "TEST.MAX_IMAGES", "10"]) == 0
    found = json.loads((tmp_path / "a run" / "results.json").read_text())
    assert found["results"]["zero-shot CLIP"]["new"]["images"] == 10
    assert len(found["zero_shot_templates"]) == sentences
    file = yaml_file(tmp_path, "CoOp")
    run("--config-only", "a.yaml", *words[:2], "--config-file", file, "DATASET.NAME", "EuroSAT")
    assert load_config(str(tmp_path / "a.yaml")).PROMPT.NAME == "zeroshot"


def test_the_trainer_is_guessed_where_that_is_clear(run, mistake, tmp_path, base_size):
    words = [word for word in BASE if word not in ("--trainer", "CoOp")]
    plain = tmp_path / "x" / "model.pth.tar-5"
    save_plain(plain, base_size)
    assert "CoOp or ProGrad; say which with --trainer" in mistake(plain, *words)
    named = tmp_path / "CoOp" / "rn50" / "model.pth.tar-5"
    save_plain(named, base_size)
    assert ": CoOp, as 'CoOp' tells;" in run(named, *words, "--output-dir", "RUN")
    assert "not those of MaPLe" in mistake(plain, *words, "--trainer", "MaPLe")
    assert "there is no dataset 'none'" in mistake(
        plain, "--backbone", "tiny", "DATASET.NAME", "none", "--trainer", "ProGrad"
    )


def test_lengths_come_from_the_checkpoint_unless_said_otherwise(run, mistake, tmp_path, base_size):
    file = tmp_path / "model.pth.tar-5"
    save_plain(file, base_size)
    run(file, *BASE, "--output-dir", "RUN", "TRAINER.COOP.CLASS_TOKEN_POSITION", "middle")
    cfg = load_config(str(tmp_path / "RUN" / "config.yaml"))
    assert (cfg.PROMPT.COOP.N_CTX, cfg.PROMPT.COOP.CLASS_TOKEN_POSITION) == (4, "middle")
    assert cfg.OPTIM.MAX_EPOCH == 5
    said = mistake(file, *BASE, "--output-dir", "other", "TRAINER.COOP.N_CTX", "16")
    assert "ctx of shape (4, 128)" in said
    assert "(16, 128)" in said


def test_an_imported_run_is_evaluated_like_any_other(
    run, mistake, load_tool, tmp_path, base_size, capsys
):
    """A class-specific context in the old format, from the file to its accuracy."""
    train = load_tool("train")
    state = coop_state(classes=base_size)
    file = save_official(tmp_path / "prompt_learner" / "model.pth.tar-50", state, 50, old=True)
    assert "names are not known" in mistake(
        file, *BASE[:4], "--trainer", "CoOp", *["DATASET.NAME", "Food101", "--output-dir", "RUN"]
    )
    assert f"trained on {base_size} classes" in mistake(file, *TINY, "--trainer", "CoOp")
    run(file, *BASE, "--output-dir", "RUN")
    assert train.main(["--eval-only", "--model-dir", "RUN", "TEST.MAX_IMAGES", "10"]) == 0
    found = json.loads((tmp_path / "RUN" / "eval" / "shapes-base" / "results.json").read_text())
    assert found["results"]["coop under erm"]["base"]["images"] == 10
    new = ["--eval-only", "--model-dir", "RUN", "DATASET.SUBSAMPLE_CLASSES", "new"]
    assert train.main(new) == 2
    assert "class-specific context" in capsys.readouterr().err
    assert train.main(["--resume", "RUN"]) == 2
    assert "nothing to resume" in capsys.readouterr().err
    assert "holds another run" in mistake(file, *BASE, "--output-dir", "RUN")


def test_a_run_without_class_names_is_told_them_to_predict(run, tmp_path):
    from softprompt.core.engine.predictor import Predictor

    file = save_official(tmp_path / "model.pth.tar-5", coop_state())
    said = run(file, *TINY[:4], "--trainer", "CoOp", "DATASET.NAME", "Food101")
    assert "no class names are recorded" in said
    folder = next(tmp_path.glob("output/food101/erm-coop/tiny/*"))
    with pytest.raises(UserError, match="imported without class names"):
        Predictor(folder)
    assert Predictor(folder, ("a dog", "a cat")).classnames == ("a dog", "a cat")


def test_the_backbone_must_be_that_of_the_checkpoint(mistake, tmp_path):
    from softprompt.core.clip.build import build_clip

    clip = build_clip("tiny", "")
    prompts = {"image_encoder.VPT": torch.zeros(8, clip.image_width)}
    state = state_of("VPT", prompts, clip, 5)
    file = save_official(tmp_path / "model.pth.tar-5", state)
    said = mistake(file, "--backbone", "ViT-B/16", "DATASET.NAME", "EuroSAT")
    assert "MODEL.BACKBONE.NAME must be the backbone" in said
    assert "MODEL.BACKBONE.NAME is not set" in mistake(file, "DATASET.NAME", "EuroSAT")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give the CHECKPOINT"),
        (["--trainer", "CoOp", *TINY], "CoOp has trained prompts: give the CHECKPOINT"),
        (["nothing", *BASE], "no such checkpoint: nothing"),
        (["model.pth.tar-5", *BASE, "TRAINER.COOP.NCTX", "4"], "did you mean 'TRAINER.COOP.N_CTX'"),
        (["model.pth.tar-5", *BASE, "OPTIM.LR"], "'OPTIM.LR' is left over"),
        (["model.pth.tar-5", *BASE, "OPTIM.LR", "fast"], "OPTIM.LR is 'fast', but takes a number"),
        (["model.pth.tar-5", *BASE, "TRAINER.COOP.CSC", "no"], "takes True or False"),
        (["model.pth.tar-5", *BASE, "--trainer", "TaskRes"], "'TaskRes' is not known here"),
        (["model.pth.tar-5", *BASE, "--backbone", "ViT-B/17"], "no backbone named 'ViT-B/17'"),
        (["model.pth.tar-5", *BASE, "--config-file", "none.yaml"], "no such config file"),
        (["model.pth.tar-5", *BASE, "--classnames", "none.txt"], "cannot read none.txt"),
        (["model.pth.tar-5", *BASE[:4], "--trainer", "CoOp"], "DATASET.NAME is not set"),
        (["--config-only", "there.yaml", *BASE], "is there already"),
        (["--config-only", "no/a.yaml", *BASE], "cannot write no/a.yaml"),
        (["--config-only", "a.yaml", *TINY], "no method given; say which with --trainer"),
        (
            ["--config-only", "a.yaml", "--trainer", "MaPLe", *TINY[2:], "--backbone", "RN50"],
            "takes no image prompts",
        ),
        (
            ["--config-only", "a.yaml", *TINY, "--trainer", "IVLP", "TRAINER.IVLP.CTX_INIT", "a"],
            "fewer words than there are context vectors",
        ),
    ],
)
def test_a_mistake_is_one_line(words, says, mistake, tmp_path, base_size):
    save_plain(tmp_path / "model.pth.tar-5", base_size)
    (tmp_path / "there.yaml").touch()
    assert says in mistake(*words)
    assert not (tmp_path / "a.yaml").exists()
    assert not (tmp_path / "output").exists()


def test_other_files_are_no_checkpoints(mistake, tmp_path):
    torch.save({"a": 1}, tmp_path / "a.pt")
    torch.save({"layer.weight": torch.ones(2)}, tmp_path / "b.pt")
    assert "no state_dict of tensors" in mistake("a.pt", *BASE)
    assert "none of the official methods" in mistake("b.pt", *BASE)
