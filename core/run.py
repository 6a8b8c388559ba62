"""One run from a configuration: train and report, or evaluate what was trained."""

import json
import time
from pathlib import Path

import torch
import yaml

from softprompt.core import checkpoint, results
from softprompt.core.backbone import RANDOM, build_clip, untrained_words
from softprompt.core.clip import FrozenCLIP
from softprompt.core.config import config_hash, options_from, settings
from softprompt.core.data import Batches, test_transform, training_transform
from softprompt.core.dataset import Dataset, Item
from softprompt.core.errors import UserError
from softprompt.core.evaluate import harmonic_mean, predict, score
from softprompt.core.fewshot import (
    balanced_sample,
    check_every_class,
    choose_classes,
    class_subset,
    draw_shots,
)
from softprompt.core.log import log_to_file, logger
from softprompt.core.loop import fit
from softprompt.core.model import PromptedCLIP
from softprompt.core.optim import Optim
from softprompt.core.prompts.base import PromptLearner
from softprompt.core.prompts.zeroshot import ZeroShot
from softprompt.core.registry import DATASETS, PROMPT_LEARNERS, TRAINERS
from softprompt.core.seeding import seeded
from softprompt.core.templates import templates_of

ZERO_SHOT = "zero-shot CLIP"


def train(cfg, *, resume: bool = False) -> dict:
    """Train, evaluate and return the results, which also stand in the run's ``results.json``."""
    folder = _run_folder(cfg, resume)
    finished = folder / results.FILE
    if resume and finished.is_file():
        logger.info(f"{folder} is finished already; its results:")
        done = json.loads(finished.read_text())
        checkpoint.finish(folder / "checkpoints")
        logger.info(results.table(done["results"], done["harmonic_mean"]))
        return done

    run = Run(cfg)
    run.check_test()
    trained_on = run.training_items()
    batches = run.training_batches(trained_on)
    learner = run.learner(run.classnames(cfg.DATASET.SUBSAMPLE_CLASSES))
    model = run.model(learner, cfg.DATASET.SUBSAMPLE_CLASSES)
    with seeded(cfg.SEED, "trainer"):
        trainer = TRAINERS[cfg.TRAINER.NAME](model, **options_from(cfg, "TRAINER"))
    for name in cfg.TEST.CLASSES:  # before training, not after it
        learner.for_classes(run.classnames(name))

    folder.mkdir(parents=True, exist_ok=True)
    handler = log_to_file(folder)
    try:
        _write_config(cfg, folder)
        run.describe(trained_on)
        logger.info(f"writing to {folder}")
        seconds = fit(
            trainer,
            batches,
            Optim.from_config(cfg.OPTIM),
            folder=folder,
            seed=cfg.SEED,
            meta=run.prompt_header(model),
            print_every=cfg.TRAIN.PRINT_FREQ,
            keep_every=cfg.TRAIN.CHECKPOINT_FREQ,
        )
        count = sum(value.numel() for value in model.params().values())
        name = f"{cfg.PROMPT.NAME} under {cfg.TRAINER.NAME}"
        found = run.report(learner, cfg.TEST.CLASSES or (cfg.DATASET.SUBSAMPLE_CLASSES,), name)
        found["trained_parameters"] = count
        found["train"] = {
            "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
            "images": len(trained_on),
            "epochs": cfg.OPTIM.MAX_EPOCH,
        }
        found["seconds"]["train"] = seconds
        results.write(folder, found)
        checkpoint.finish(folder / "checkpoints")
        logger.info(f"finished: {folder / results.FILE}")
        return found
    finally:
        handler.close()
        logger.removeHandler(handler)


def evaluate(cfg, model_dir: str, epoch: int = 0) -> dict:
    """Evaluate a run's prompts, or CLIP with a learner that learns nothing; nothing is trained.

    The results go to ``model_dir/eval/<dataset>-<classes>/`` unless ``OUTPUT_DIR`` is set.
    """
    classes = cfg.DATASET.SUBSAMPLE_CLASSES
    if model_dir:
        file = checkpoint.find_prompts(Path(model_dir).expanduser(), epoch)
        tensors, header = checkpoint.load_prompts(file)
        _check_header(cfg, header, file)
        folder = Path(model_dir).expanduser() / "eval" / f"{cfg.DATASET.NAME}-{classes}"
    if cfg.OUTPUT_DIR or not model_dir:
        folder = _run_folder(cfg, resume=False)

    run = Run(cfg)
    run.check_test()
    if model_dir:
        learner = run.learner(tuple(header["classnames"]))
        checkpoint.load_into(learner, tensors, file)
        learner.for_classes(run.classnames(classes))
        subsets, source = (classes,), f"{file} (epoch {header['epoch']})"
        name = f"{cfg.PROMPT.NAME} under {header['trainer']}"
    else:
        learner = run.learner(run.classnames(classes))
        if any(True for _ in learner.parameters()):
            raise UserError(
                f"--eval-only needs --model-dir RUN, the run whose {cfg.PROMPT.NAME} prompts to "
                "evaluate; only PROMPT.NAME zeroshot needs none"
            )
        subsets, source, name = cfg.TEST.CLASSES or (classes,), "CLIP", cfg.PROMPT.NAME
    folder.mkdir(parents=True, exist_ok=True)
    handler = log_to_file(folder)
    try:
        _write_config(cfg, folder)
        run.describe(None)
        logger.info(f"evaluating {source}")
        found = run.report(learner, subsets, name)
        found["prompts"] = source
        results.write(folder, found)
        logger.info(f"finished: {folder / results.FILE}")
        return found
    finally:
        handler.close()
        logger.removeHandler(handler)


class Run:
    """The dataset and the backbone of one configuration, and what is made of the two."""

    def __init__(self, cfg):
        self.cfg = cfg
        self.dataset: Dataset = DATASETS[cfg.DATASET.NAME](
            Path(cfg.DATASET.ROOT).expanduser(), **options_from(cfg, "DATASET")
        )
        self.splits = self.dataset.splits()
        device = "cuda" if cfg.USE_CUDA and torch.cuda.is_available() else "cpu"
        backbone = cfg.MODEL.BACKBONE
        self.clip: FrozenCLIP = build_clip(
            backbone.NAME, backbone.PRETRAINED, cfg.MODEL.PRECISION, device
        )
        self.size = self._image_size()

    def _image_size(self) -> tuple[int, int]:
        own, given = self.clip.image_size, tuple(self.cfg.INPUT.SIZE)
        if given and given != own:
            raise UserError(
                f"INPUT.SIZE is {given}, but {self.clip.name} reads {own}; leave INPUT.SIZE out"
            )
        return own

    def labels(self, subset: str) -> range:
        return class_subset(len(self.dataset.classnames), subset)

    def classnames(self, subset: str) -> tuple[str, ...]:
        return tuple(self.dataset.classnames[label] for label in self.labels(subset))

    def learner(self, classnames: tuple[str, ...]) -> PromptLearner:
        """The prompt learner as it starts, drawn from a generator of its own."""
        with seeded(self.cfg.SEED, "init"):
            cls = PROMPT_LEARNERS[self.cfg.PROMPT.NAME]
            learner = cls(self.clip, classnames, **options_from(self.cfg, "PROMPT"))
        return learner.to(self.clip.device)

    def model(self, learner: PromptLearner, subset: str) -> PromptedCLIP:
        return PromptedCLIP(self.clip, learner, self.classnames(subset), self.dataset.templates)

    def training_items(self) -> list[Item]:
        node = self.cfg.DATASET
        drawn = draw_shots(self.splits, node.NUM_SHOTS, self.cfg.SEED)["train"]
        items = choose_classes(drawn, self.labels(node.SUBSAMPLE_CLASSES))
        check_every_class(items, self.classnames(node.SUBSAMPLE_CLASSES), "train")
        return items

    def check_test(self) -> None:
        """Raise ``UserError`` now for what evaluation would stumble over after training."""
        templates_of(self.dataset, self.cfg.TEST.TEMPLATES)
        for subset in self.cfg.TEST.CLASSES or (self.cfg.DATASET.SUBSAMPLE_CLASSES,):
            if not self.test_items(subset):
                raise UserError(
                    f"{self.dataset.image_dir} has no picture of the {subset} classes in the "
                    f"{self.cfg.TEST.SPLIT} split; TEST.SPLIT names another one"
                )

    def test_items(self, subset: str) -> list[Item]:
        items = choose_classes(self.splits[self.cfg.TEST.SPLIT], self.labels(subset))
        return balanced_sample(items, self.cfg.TEST.MAX_IMAGES)

    def training_batches(self, items: list[Item]) -> Batches:
        return Batches(
            items,
            self.dataset.reader(),
            training_transform(self.cfg.INPUT, self.size, *self._statistics()),
            batch_size=self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE,
            workers=self.cfg.DATALOADER.NUM_WORKERS,
            seed=self.cfg.SEED,
            device=self.clip.device,
        )

    def test_batches(self, subset: str) -> Batches:
        return Batches(
            self.test_items(subset),
            self.dataset.reader(),
            test_transform(self.cfg.INPUT, self.size, *self._statistics()),
            batch_size=self.cfg.DATALOADER.TEST.BATCH_SIZE,
            workers=self.cfg.DATALOADER.NUM_WORKERS,
            device=self.clip.device,
        )

    def _statistics(self) -> tuple[tuple, tuple]:
        node, visual = self.cfg.INPUT, self.clip.model.visual
        return node.PIXEL_MEAN or visual.image_mean, node.PIXEL_STD or visual.image_std

    def report(self, learner: PromptLearner, subsets: tuple[str, ...], name: str) -> dict:
        """Evaluate on each class set, print the table and return all but the training's part."""
        began = time.perf_counter()
        scores: dict[str, dict[str, dict]] = {}
        templates = templates_of(self.dataset, self.cfg.TEST.TEMPLATES)
        sampled = {}
        for subset in subsets:
            names = self.classnames(subset)
            batches = self.test_batches(subset)
            if self.cfg.TEST.MAX_IMAGES:
                total = len(choose_classes(self.splits[self.cfg.TEST.SPLIT], self.labels(subset)))
                sampled[subset] = f"{len(self.test_items(subset))} of {total} images"
            models = {name: self.model(learner, subset)}
            if self.cfg.TEST.ZERO_SHOT:
                plain = ZeroShot(self.clip, names, templates=templates)
                models = {ZERO_SHOT: self.model(plain, subset), **models}
            logits, labels = predict(models, batches.epoch())
            for model in models:
                scores.setdefault(model, {})[subset] = score(logits[model], labels, names)
        means = {}
        if {"base", "new"} <= set(subsets):
            means = {
                model: harmonic_mean(by_set["base"]["accuracy"], by_set["new"]["accuracy"])
                for model, by_set in scores.items()
            }
        logger.info(results.table(scores, means))
        for warning in self.warnings():
            logger.warning(warning)
        return {
            "format": 1,
            "dataset": self.cfg.DATASET.NAME,
            "prompt": self.cfg.PROMPT.NAME,
            "trainer": self.cfg.TRAINER.NAME,
            "backbone": {"name": self.clip.name, "weights": self.clip.weights},
            "seed": self.cfg.SEED,
            "shots": self.cfg.DATASET.NUM_SHOTS,
            "split": {"name": self.cfg.TEST.SPLIT, "note": self.dataset.note},
            "sampled": sampled,
            "zero_shot_templates": list(templates),
            "results": scores,
            "harmonic_mean": means,
            "warnings": self.warnings(),
            "config_hash": config_hash(self.cfg),
            "environment": results.environment(),
            "seconds": {"evaluate": time.perf_counter() - began},
        }

    def warnings(self) -> list[str]:
        """What a reader of the numbers must know."""
        found = []
        if self.clip.weights == RANDOM:
            found.append(
                f"RANDOM WEIGHTS: {self.clip.name} was not pretrained (MODEL.BACKBONE.PRETRAINED "
                '""), so accuracies are near chance'
            )
        words = untrained_words(self.clip, self.dataset.classnames)
        if words:
            found.append(
                f"the backbone {self.clip.name} has never seen the words of {len(words)} class "
                f"names ({', '.join(words[:5])}{' ...' if len(words) > 5 else ''})"
            )
        return found

    def describe(self, trained_on: list[Item] | None) -> None:
        cfg = self.cfg
        logger.info(
            f"dataset {cfg.DATASET.NAME}: {len(self.dataset.classnames)} classes, "
            + ", ".join(f"{len(items)} {name}" for name, items in self.splits.items())
            + (f"; {self.dataset.note}" if self.dataset.note else "")
        )
        logger.info(
            f"backbone {self.clip.name}, weights {self.clip.weights}, "
            f"{cfg.MODEL.PRECISION} on {self.clip.device}"
        )
        if trained_on is not None:
            logger.info(
                f"training {cfg.PROMPT.NAME} under {cfg.TRAINER.NAME} on {len(trained_on)} images "
                f"of the {cfg.DATASET.SUBSAMPLE_CLASSES} classes, seed {cfg.SEED}"
            )
        for warning in self.warnings():
            logger.warning(warning)

    def prompt_header(self, model: PromptedCLIP) -> dict:
        return {
            "learner": self.cfg.PROMPT.NAME.lower(),
            "options": options_from(self.cfg, "PROMPT"),
            "trainer": self.cfg.TRAINER.NAME.lower(),
            "classnames": list(model.classnames),
            "template": model.learner.template,
            "dataset": self.cfg.DATASET.NAME,
            "backbone": {"name": self.clip.name, "weights": self.clip.weights},
            "config": settings(self.cfg),
        }


def _run_folder(cfg, resume: bool) -> Path:
    """Return the run's folder; the default one is new, a given one must be free or resumed."""
    if not cfg.OUTPUT_DIR:
        if resume:
            raise UserError("--resume needs the folder of the run: --resume --output-dir RUN")
        backbone = cfg.MODEL.BACKBONE.NAME.replace("/", "-")
        parent = Path("output", cfg.DATASET.NAME, f"{cfg.TRAINER.NAME}-{cfg.PROMPT.NAME}", backbone)
        stem = f"{cfg.DATASET.SUBSAMPLE_CLASSES}-{cfg.DATASET.NUM_SHOTS}shots-seed{cfg.SEED}"
        runs = (parent / f"{stem}-run{number}" for number in range(1, 1_000_000))
        return next(run for run in runs if not run.exists())
    folder = Path(cfg.OUTPUT_DIR).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"OUTPUT_DIR {folder} is a file; give a folder")
    occupied = folder.is_dir() and any(folder.iterdir())
    if occupied and not resume:
        raise UserError(
            f"{folder} holds another run; give another --output-dir, or --resume to go on with it"
        )
    if occupied and (folder / "config.yaml").is_file():
        _check_same_run(cfg, folder)
    return folder


def _check_same_run(cfg, folder: Path) -> None:
    old = _flat(yaml.safe_load((folder / "config.yaml").read_text()) or {})
    new = _flat(settings(cfg))
    for key in sorted((old.keys() | new.keys()) - {"OUTPUT_DIR", "DATASET.ROOT"}):
        if old.get(key) != new.get(key):
            raise UserError(
                f"{folder} holds a run with {key} {old.get(key)!r}, not {new.get(key)!r}; resume "
                "it with its own settings (--config-file RUN/config.yaml), or give another folder"
            )


def _flat(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def _write_config(cfg, folder: Path) -> None:
    partial = folder / ".config.yaml.partial"
    partial.write_text(cfg.dump(), encoding="utf-8")
    partial.replace(folder / "config.yaml")


def _check_header(cfg, header: dict, file: Path) -> None:
    """Raise ``UserError`` where the configuration is not the one that the prompts are for."""
    for what, given, saved in (
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, header["backbone"]["name"]),
        ("PROMPT.NAME", cfg.PROMPT.NAME.lower(), header["learner"]),
    ):
        if given != saved:
            raise UserError(f"{file} was trained with {what} {saved!r}, not {given!r}")
