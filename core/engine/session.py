"""The dataset and the backbone of one configuration, and the parts of a run built from them."""

from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path

import torch
from yacs.config import CfgNode

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.files import check_folder
from softprompt.core.base.log import logger
from softprompt.core.base.registry import place
from softprompt.core.base.seeding import seed_of
from softprompt.core.clip.activation import activation_of
from softprompt.core.clip.build import warnings_of
from softprompt.core.clip.fast import store, taken
from softprompt.core.clip.prompted import PromptedCLIP, check_classes
from softprompt.core.config.options import options_from
from softprompt.core.data.batch import Batch
from softprompt.core.data.batches import Batches
from softprompt.core.data.dataset import Item
from softprompt.core.data.decoding import Decoding
from softprompt.core.data.fewshot import (
    balanced_sample,
    check_every_class,
    choose_classes,
    class_subset,
    load_or_draw,
)
from softprompt.core.data.stored import FixedViews, StoredBatches
from softprompt.core.data.transforms import (
    Preprocessing,
    evaluation_transform,
    is_random,
    training_transform,
)
from softprompt.core.engine import cautions
from softprompt.core.engine.build import build_learner
from softprompt.core.engine.evaluate import need_images
from softprompt.core.engine.shared import Shared
from softprompt.core.prompts.base import PromptLearner
from softprompt.core.prompts.templates import templates_of


class Session:
    """Build items, batches, prompt learner and model of one configuration.

    Class sets are named "all", "base", "new" or "generalized".
    """

    def __init__(self, cfg: CfgNode, shared: Shared | None = None):
        """Load the dataset's lists and the backbone.

        Args:
            shared: what other runs of this process use, too.

        Raises:
            UserError: the dataset is not on the disk, or there is no such backbone.
        """
        self.cfg = cfg
        if cfg.CACHE.DIR:
            check_folder(Path(cfg.CACHE.DIR).expanduser(), "CACHE.DIR")
        several = shared is not None
        shared = shared or Shared()
        self.meter = shared.meter
        self.dataset, self.splits = shared.dataset(
            cfg.DATASET.NAME,
            cfg.DATASET.ROOT,
            options_from(cfg, "DATASET"),
            cfg.DATASET.NAMES_FILE,
        )
        memory = cfg.DATALOADER.MEMORY / max(1, cfg.DATALOADER.NUM_WORKERS)
        decoding = Decoding.of(cfg.INPUT)
        self.pictures = shared.pictures(self.dataset, cfg.INPUT.BACKEND, memory, decoding)
        # A single run reads its test pictures once, and asks for no feature twice.
        self.read_test = self.pictures.cached if several else self.pictures.read
        stores = store.applies(cfg.CACHE.DIR, several)
        self.store = shared.store(cfg.CACHE.DIR, cfg.CACHE.LIMIT) if stores else None
        self.clip = shared.clip(cfg)
        self.preprocessing = Preprocessing.of(self.clip, cfg.INPUT)

    def labels(self, subset: str) -> range:
        """Return the dataset's labels of a class set."""
        return class_subset(len(self.dataset.classnames), subset)

    def classnames(self, subset: str) -> tuple[str, ...]:
        """Return the names of the classes of a class set."""
        return tuple(self.dataset.classnames[label] for label in self.labels(subset))

    def learner(self, classnames: tuple[str, ...]) -> PromptLearner:
        """Return the untrained prompt learner; its start depends on ``PROMPT.SEED`` alone."""
        return build_learner(self.cfg, self.clip, classnames)

    def model(self, learner: PromptLearner, subset: str) -> PromptedCLIP:
        """Return CLIP with a learner's prompts as a classifier of a class set."""
        names, templates = self.classnames(subset), self.dataset.templates
        return PromptedCLIP(self.clip, learner, names, templates, self.store)

    @cached_property
    def few_shot_items(self) -> list[Item]:
        """The training images of all classes, after the few-shot draw."""
        seed = seed_of(self.cfg, "DATASET")
        if not self.splits["train"]:
            raise UserError(
                f"{place(type(self.dataset))}: splits() has no picture in 'train', so the dataset "
                "can only be tested on"
            )
        return load_or_draw(self.dataset, self.splits, self.cfg.DATASET.NUM_SHOTS, seed)["train"]

    def training_items(self) -> list[Item]:
        """Return the few-shot items of the classes to train on, of which the first one is read.

        Raises:
            UserError: one of these classes has none, or the first picture cannot be read, as where
                all pictures have a depth that needs an option.
        """
        subset = self.cfg.DATASET.SUBSAMPLE_CLASSES
        items = choose_classes(self.few_shot_items, self.labels(subset))
        check_every_class(items, self.classnames(subset), "train")
        self.pictures.cached(items[0].path)
        return items

    def check_test(self, subsets: tuple[str, ...]) -> None:
        """Raise ``UserError`` before training for what evaluation would fail on afterwards."""
        templates_of(self.dataset, self.cfg.TEST.TEMPLATES)
        for subset in subsets:
            items = self.test_items(subset)
            if not items:
                # A dataset with a reader of its own may have no folder of pictures.
                source = getattr(self.dataset, "image_dir", None) or place(type(self.dataset))
                raise UserError(
                    f"{source} has no picture of the {subset} classes in the "
                    f"{self.cfg.TEST.SPLIT} split; TEST.SPLIT names another one"
                )
            self.read_test(items[0].path)

    def check_learner(
        self, learner: PromptLearner, trained: tuple[str, ...], subsets: tuple[str, ...]
    ) -> None:
        """Raise ``UserError`` if prompts for some class names do not serve a class set."""
        for subset in subsets:
            check_classes(learner, self.clip, trained, self.classnames(subset))

    def test_items(self, subset: str) -> list[Item]:
        """Return the items to evaluate on, ``TEST.MAX_IMAGES`` at most, relabelled from 0."""
        items = choose_classes(self.splits[self.cfg.TEST.SPLIT], self.labels(subset))
        return balanced_sample(items, self.cfg.TEST.MAX_IMAGES)

    @property
    def views(self) -> int:
        """The number of views of a training picture; 0: another one each epoch."""
        return self.cfg.INPUT.VIEWS if is_random(self.cfg.INPUT.TRANSFORMS) else 1

    def training_batches(self, items: list[Item]) -> Batches | FixedViews:
        """Return shuffled, augmented batches; of fixed views, features are computed once."""
        node = self.cfg.INPUT
        batches = Batches(
            items,
            self.pictures.cached,
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
        known = partial(self._known, batches.in_order(), need_images=False)
        return FixedViews(batches, known, self.clip)

    def test_batches(self, subset: str, limit: int = 0) -> Batches:
        """Return the test images, or ``limit`` of them spread evenly over the classes."""
        return Batches(
            balanced_sample(self.test_items(subset), limit),
            self.read_test,
            evaluation_transform(self.cfg.INPUT.TRANSFORMS, self.preprocessing),
            batch_size=self.cfg.DATALOADER.TEST.BATCH_SIZE,
            workers=self.cfg.DATALOADER.NUM_WORKERS,
            device=self.clip.device,
        )

    def tested_by(
        self, models: Iterable[PromptedCLIP], subset: str, limit: int = 0
    ) -> Iterator[Batch]:
        """Yield ``test_batches``, their unprompted features from the store if there is one."""
        batches = self.test_batches(subset, limit)
        return self._known(batches, need_images=need_images(models))

    def _known(self, batches: Batches, epoch: int = 0, *, need_images: bool) -> Iterator[Batch]:
        """An epoch's batches, their unprompted features from the store if there is one."""
        if self.store is None:
            return batches.epoch(epoch)
        stored = StoredBatches(batches, self.clip, self.store, self.pictures.content_hash)
        return stored.epoch(epoch, need_images)

    def warnings(self) -> list[str]:
        """Return what a reader of the numbers must know."""
        names = self.dataset.classnames
        return warnings_of(self.clip, names) + cautions.of_names(names)

    def describe(self, model: PromptedCLIP, *, training: bool) -> None:
        """Log the dataset, the backbone, the fast paths that ``model`` takes and all warnings."""
        cfg = self.cfg
        logger.info(
            f"dataset {cfg.DATASET.NAME}: {len(self.dataset.classnames)} classes, "
            + ", ".join(f"{len(items)} {name}" for name, items in self.splits.items())
            + (f"; {self.dataset.note}" if self.dataset.note else "")
        )
        logger.info(
            f"backbone {self.clip.name}, weights {self.clip.weights}, "
            f"{activation_of(self.clip.model)}, {cfg.MODEL.PRECISION} on {self.clip.device}"
        )
        loader = cfg.DATALOADER.TRAIN_X if training else cfg.DATALOADER.TEST
        with torch.set_grad_enabled(training):
            logger.info(taken.describe(model, loader.BATCH_SIZE, self.store))
        if cfg.CACHE.DIR and self.store is None:
            logger.warning(
                f"CACHE.DIR is not used: {parallel.world_size()} processes share this run's batches"
            )
        for warning in self.warnings():
            logger.warning(warning)
