"""The dataset and the backbone of one configuration, and what a run makes of the two."""

import time
from collections.abc import Iterator
from functools import cached_property, partial

from yacs.config import CfgNode

from softprompt.core import parallel, results
from softprompt.core.backbone import RANDOM, warnings_of
from softprompt.core.board import Board
from softprompt.core.config import config_hash, options_from, settings
from softprompt.core.data import (
    Batches,
    Preprocessing,
    draws,
    evaluation_transform,
    training_transform,
)
from softprompt.core.dataset import Item
from softprompt.core.errors import UserError
from softprompt.core.evaluate import need_pictures, predict, score, score_generalized
from softprompt.core.fewshot import (
    balanced_sample,
    check_every_class,
    choose_classes,
    class_subset,
)
from softprompt.core.fewshot_file import draw
from softprompt.core.log import logger
from softprompt.core.memory import peak_memory
from softprompt.core.model import PromptedCLIP
from softprompt.core.prompts.base import PromptLearner
from softprompt.core.prompts.zeroshot import ZeroShot
from softprompt.core.registry import PROMPT_LEARNERS
from softprompt.core.seeding import STREAMS, seed_of, seeded
from softprompt.core.shared import Shared
from softprompt.core.stored_batches import FixedViews, StoredBatches
from softprompt.core.templates import templates_of
from softprompt.core.trainer import Batch


class Session:
    """What training, evaluation and prediction of one configuration have in common."""

    def __init__(self, cfg: CfgNode, shared: Shared | None = None):
        self.cfg = cfg
        several = shared is not None
        shared = shared or Shared()
        self.dataset, self.splits = shared.dataset(cfg)
        self.pictures = shared.pictures(cfg)
        # One run alone reads its test pictures once, and asks for no feature twice.
        self.read_test = self.pictures.kept if several else self.pictures.read
        # Of several processes that encode together, one must not find what others have to compute.
        stores = parallel.count() == 1 and (several or cfg.CACHE.DIR)
        self.store = shared.store(cfg) if stores else None
        self.clip = shared.clip(cfg)
        self.clip.store = self.store if cfg.CACHE.DIR else None
        self.preprocessing = Preprocessing.of(self.clip, cfg.INPUT)

    def labels(self, subset: str) -> range:
        return class_subset(len(self.dataset.classnames), subset)

    def classnames(self, subset: str) -> tuple[str, ...]:
        return tuple(self.dataset.classnames[label] for label in self.labels(subset))

    def learner(self, classnames: tuple[str, ...]) -> PromptLearner:
        """The prompt learner as it starts, drawn from a generator of its own."""
        with seeded(seed_of(self.cfg, "PROMPT"), "init"):
            cls = PROMPT_LEARNERS[self.cfg.PROMPT.NAME]
            learner = cls(self.clip, classnames, **options_from(self.cfg, "PROMPT"))
        return learner.to(self.clip.device)

    def model(self, learner: PromptLearner, subset: str) -> PromptedCLIP:
        return PromptedCLIP(self.clip, learner, self.classnames(subset), self.dataset.templates)

    @cached_property
    def drawn(self) -> list[Item]:
        """The training images of all classes, after the few-shot draw."""
        seed = seed_of(self.cfg, "DATASET")
        return draw(self.dataset, self.splits, self.cfg.DATASET.NUM_SHOTS, seed)["train"]

    def training_items(self) -> list[Item]:
        subset = self.cfg.DATASET.SUBSAMPLE_CLASSES
        items = choose_classes(self.drawn, self.labels(subset))
        check_every_class(items, self.classnames(subset), "train")
        return items

    def check_test(self, subsets: tuple[str, ...]) -> None:
        """Raise ``UserError`` now for what evaluation would stumble over after training."""
        templates_of(self.dataset, self.cfg.TEST.TEMPLATES)
        for subset in subsets:
            if not self.test_items(subset):
                raise UserError(
                    f"{self.dataset.image_dir} has no picture of the {subset} classes in the "
                    f"{self.cfg.TEST.SPLIT} split; TEST.SPLIT names another one"
                )

    def test_items(self, subset: str) -> list[Item]:
        items = choose_classes(self.splits[self.cfg.TEST.SPLIT], self.labels(subset))
        return balanced_sample(items, self.cfg.TEST.MAX_IMAGES)

    @property
    def views(self) -> int:
        """How many views of a training picture there are; 0: another one each epoch."""
        return self.cfg.INPUT.VIEWS if draws(self.cfg.INPUT.TRANSFORMS) else 1

    def training_batches(self, items: list[Item]) -> Batches | FixedViews:
        node = self.cfg.INPUT
        batches = Batches(
            items,
            self.pictures.kept,
            training_transform(node.TRANSFORMS, self.preprocessing, node.RRCROP_SCALE),
            batch_size=self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE,
            workers=self.cfg.DATALOADER.NUM_WORKERS,
            seed=seed_of(self.cfg, "DATALOADER"),
            augment_seed=seed_of(self.cfg, "INPUT"),
            views=self.views,
            memory=self.cfg.DATALOADER.MEMORY,
            device=self.clip.device,
        )
        if not self.views:
            return batches
        known = partial(self._known, batches.in_order(), pictures=False)
        return FixedViews(batches, known, self.clip)

    def test_batches(self, subset: str, limit: int = 0) -> Batches:
        """The test images, or so many of them, spread evenly over the classes."""
        return Batches(
            balanced_sample(self.test_items(subset), limit),
            self.read_test,
            evaluation_transform(self.cfg.INPUT.TRANSFORMS, self.preprocessing),
            batch_size=self.cfg.DATALOADER.TEST.BATCH_SIZE,
            workers=self.cfg.DATALOADER.NUM_WORKERS,
            device=self.clip.device,
        )

    def _known(self, batches: Batches, epoch: int = 0, *, pictures: bool) -> Iterator[Batch]:
        """An epoch's batches, their plain features from the store if there is one."""
        if self.store is None:
            return batches.epoch(epoch)
        stored = StoredBatches(batches, self.clip, self.store, self.pictures.content)
        return stored.epoch(epoch, pictures)

    def report(
        self, learner: PromptLearner, subsets: tuple[str, ...], name: str, board: Board
    ) -> dict:
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
                models = {results.ZERO_SHOT: self.model(plain, subset), **models}
            tested = self._known(batches, pictures=need_pictures(models.values()))
            logits, labels = predict(models, tested)
            board.draw(self, subset, models[name], logits[name], labels)
            measure = score_generalized if subset == "generalized" else score
            for model in models:
                scores.setdefault(model, {})[subset] = measure(logits[model], labels, names)
        means = {}
        if {"base", "new"} <= set(subsets):
            means = {
                model: results.harmonic_mean(by_set["base"]["accuracy"], by_set["new"]["accuracy"])
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
            "seeds": {stream: seed_of(self.cfg, stream) for stream in STREAMS},
            "shots": self.cfg.DATASET.NUM_SHOTS,
            "split": {"name": self.cfg.TEST.SPLIT, "note": self.dataset.note},
            "sampled": sampled,
            "zero_shot_templates": list(templates),
            "results": scores,
            "harmonic_mean": means,
            "warnings": self.warnings(),
            "config": settings(self.cfg),
            "config_hash": config_hash(self.cfg),
            "environment": results.environment(),
            "seconds": {"evaluate": time.perf_counter() - began},
            "peak_memory": peak_memory(),
        }

    def warnings(self) -> list[str]:
        """What a reader of the numbers must know."""
        return warnings_of(self.clip, self.dataset.classnames)

    def describe(self) -> None:
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
        for warning in self.warnings():
            logger.warning(warning)

    def prompt_header(self, model: PromptedCLIP) -> dict:
        return prompt_header(self.cfg, model.learner, model.classnames)


def prompt_header(cfg: CfgNode, learner: PromptLearner, classnames: tuple[str, ...]) -> dict:
    """What a prompt file's header says beside its epoch."""
    backbone = cfg.MODEL.BACKBONE
    return {
        "learner": cfg.PROMPT.NAME.lower(),
        "options": options_from(cfg, "PROMPT"),
        "trainer": cfg.TRAINER.NAME.lower(),
        "classnames": list(classnames),
        "template": learner.template,
        "dataset": cfg.DATASET.NAME,
        "backbone": {"name": backbone.NAME, "weights": backbone.PRETRAINED or RANDOM},
        "config": settings(cfg),
    }
