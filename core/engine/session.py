"""The dataset and the backbone of one configuration, and what a run makes of the two."""

from collections.abc import Iterable, Iterator
from functools import cached_property, partial

from yacs.config import CfgNode

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.base.log import logger
from softprompt.core.base.seeding import seed_of
from softprompt.core.clip.build import warnings_of
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.data.batch import Batch
from softprompt.core.data.batches import Batches
from softprompt.core.data.dataset import Item
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
from softprompt.core.engine.build import build_learner
from softprompt.core.engine.evaluate import need_pictures
from softprompt.core.engine.shared import Shared
from softprompt.core.prompts.base import PromptLearner
from softprompt.core.prompts.templates import templates_of


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
        stores = parallel.world_size() == 1 and (several or cfg.CACHE.DIR)
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
        return build_learner(self.cfg, self.clip, classnames)

    def model(self, learner: PromptLearner, subset: str) -> PromptedCLIP:
        return PromptedCLIP(self.clip, learner, self.classnames(subset), self.dataset.templates)

    @cached_property
    def drawn(self) -> list[Item]:
        """The training images of all classes, after the few-shot draw."""
        seed = seed_of(self.cfg, "DATASET")
        return load_or_draw(self.dataset, self.splits, self.cfg.DATASET.NUM_SHOTS, seed)["train"]

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
        return self.cfg.INPUT.VIEWS if is_random(self.cfg.INPUT.TRANSFORMS) else 1

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

    def tested_by(
        self, models: Iterable[PromptedCLIP], subset: str, limit: int = 0
    ) -> Iterator[Batch]:
        """Yield ``test_batches``, their plain features from the store if there is one."""
        batches = self.test_batches(subset, limit)
        return self._known(batches, pictures=need_pictures(models))

    def _known(self, batches: Batches, epoch: int = 0, *, pictures: bool) -> Iterator[Batch]:
        """An epoch's batches, their plain features from the store if there is one."""
        if self.store is None:
            return batches.epoch(epoch)
        stored = StoredBatches(batches, self.clip, self.store, self.pictures.content)
        return stored.epoch(epoch, pictures)

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
        if cfg.CACHE.DIR and self.store is None:
            logger.warning(
                f"CACHE.DIR is not used: {parallel.world_size()} processes divide this run's "
                "batches"
            )
        for warning in self.warnings():
            logger.warning(warning)
