"""The rows of the benchmark, and what each of them runs: ours, and the reference's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BACKBONES = {"vit_b16": "ViT-B/16", "tiny": "tiny"}  # by the name of their configurations
# Of the test set that an evaluation's cost is stated for; one batch of it is run.
TEST_IMAGES, TEST_BATCH = 1000, 100


@dataclass(frozen=True)
class Row:
    """One line of the table for each number of classes."""

    label: str
    method: str  # the folder of its settings in configs/
    kind: str = "step"  # step, fixed (a step on views whose features are known), evaluation, start
    classes: tuple[int, ...] = (10, 100)
    # Gigabytes that the reference takes, and takes more for each class, where they are many.
    gigabytes: tuple[float, float] = (3.0, 0.03)


ROWS = {
    "coop": Row("CoOp", "coop"),
    "coop-fixed": Row("CoOp, fixed views", "coop", "fixed"),
    "cocoop": Row("CoCoOp", "cocoop"),
    "maple": Row("MaPLe", "maple"),
    "ivlp": Row("IVLP", "ivlp"),
    "promptsrc": Row("PromptSRC", "promptsrc"),
    "prograd": Row("ProGrad", "prograd"),
    "prometar": Row("ProMetaR", "prometar", classes=(10, 50, 100), gigabytes=(7.0, 0.21)),
    "evaluation": Row("IVLP evaluation", "ivlp", "evaluation", (10, 100, 500), (3.0, 0.004)),
    "cocoop-evaluation": Row("CoCoOp evaluation", "cocoop", "evaluation", (100,)),
    "start": Row("teacher of 60 templates", "prometar", "start", (100,)),
}


class Part(NamedTuple):
    """Something to run, and how often the row's whole cost contains it."""

    run: Callable[[], object]
    times: float


class Case:
    """One row at one number of classes, for one variant: its parts, and what a step computed."""

    def __init__(
        self, row: Row, clip, classes: int, settings: tuple[str, ...] = (), size: str = "vit_b16"
    ):
        """Build it.

        Args:
            clip: a ``FrozenCLIP`` or a ``ReferenceCLIP``.
            settings: KEY VALUE pairs that change the row's.
            size: the configuration of the row's method.
        """
        from softprompt.core.config.load import load_config

        file = ROOT / "configs" / row.method / f"{size}.yaml"
        self.cfg = load_config(str(file), "", {}, list(settings))
        self.clip = clip
        self.names = class_names(classes)
        self.updates: list[dict] = []
        self.terms: dict = {}
        self.parts: list[Part] = getattr(self, f"_{row.kind}")()

    def _model(self):
        from softprompt.core.clip.prompted import PromptedCLIP
        from softprompt.core.engine.build import build_learner

        learner = build_learner(self.cfg, self.clip, self.names)
        return PromptedCLIP(self.clip, learner, self.names)

    def _images(self, count: int):
        import torch

        generator = torch.Generator().manual_seed(5)
        images = torch.randn(count, 3, *self.clip.image_size, generator=generator)
        return images.to(self.clip.device)

    def _fixed(self) -> list[Part]:
        """A step on pictures whose features without prompts were computed in an earlier epoch."""
        return self._step(known=not is_reference(self.clip))

    def _step(self, known: bool = False) -> list[Part]:
        """A training step; its teachers' text features are noise: they have a row of their own."""
        import torch

        from softprompt.core.base.registry import TRAINERS
        from softprompt.core.base.seeding import seeded
        from softprompt.core.config.load import options_from
        from softprompt.core.data.batch import Batch
        from softprompt.core.engine.optim import Optim

        drawn = torch.Generator().manual_seed(6)
        noise = torch.randn(len(self.names), self.clip.dim, generator=drawn).to(self.clip.device)
        self.clip.class_features = lambda *_, **__: noise
        model = self._model()
        with seeded(1, "trainer"):
            cls = official(self.cfg.TRAINER.NAME, self.clip) or TRAINERS[self.cfg.TRAINER.NAME]
            trainer = cls(model, **options_from(self.cfg, "TRAINER"))
        trainer.prepare(Optim.from_config(self.cfg.OPTIM))
        trainer.start_epoch(1)
        size = self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        images = self._images(size)
        labels = torch.arange(size, device=images.device) % len(self.names)
        features = self.clip.encode_image(images) if known else None
        update = trainer.update

        def watched(found: dict, *which: str) -> None:
            self.updates.append({name: value.detach() for name, value in found.items()})
            update(found, *which)

        trainer.update = watched

        def step() -> None:
            self.updates.clear()
            torch.manual_seed(7)
            # A tensor of its own, or the features of the step before would be found again.
            batch = Batch(images.clone(), labels)
            if known:
                self.clip.expect(batch.images, lambda _: features)
            # Detached, or the graph of one step would be there while the next one is computed.
            self.terms = {name: term.detach() for name, term in trainer.step(batch).items()}

        return [Part(step, 1)]

    def _evaluation(self) -> list[Part]:
        """A test set in batches of the official size; the official code encodes text for each.

        Prompts by picture it takes to the text tower one picture after another.
        """
        import torch
        import torch.nn.functional as F

        from softprompt.core.engine.evaluate import Classifier

        model, images = self._model(), self._images(TEST_BATCH)
        batches = TEST_IMAGES / TEST_BATCH
        with torch.no_grad():
            classifier = Classifier(model)

        @torch.no_grad()
        def text() -> None:
            model.encode_text(model.prompts())

        @torch.no_grad()
        def batch() -> None:
            classifier(images.clone(), {})

        if not model.learner.conditional:
            return [Part(text, batches if is_reference(self.clip) else 1), Part(batch, batches)]
        if not is_reference(self.clip):
            return [Part(batch, batches)]

        @torch.no_grad()
        def pictures() -> None:
            self.clip.encode_image(images.clone())

        feature = F.normalize(torch.ones(1, self.clip.dim, device=images.device), dim=-1)

        @torch.no_grad()
        def text_of_one() -> None:
            model.encode_text(model.prompts(None, feature))

        return [Part(pictures, batches), Part(text_of_one, TEST_IMAGES)]

    def _start(self) -> list[Part]:
        """The teacher's sentences, each template costing what another costs."""
        return [Part(lambda: self.clip.encode_in_chunks(self.names, "itap of a {}."), 60)]


def class_names(count: int) -> tuple[str, ...]:
    """Return so many of ImageNet's names, from all over the list."""
    from softprompt.core.data import imagenet

    names = list(imagenet.read_classnames(Path("nowhere")).values())
    return tuple(names[i * len(names) // count] for i in range(count))


def is_reference(clip) -> bool:
    from softprompt.core.studies.reference.clip import ReferenceCLIP

    return isinstance(clip, ReferenceCLIP)


def official(trainer: str, clip) -> type | None:
    """The trainer that does all that the official code does, where ours leaves something out."""
    from softprompt.core.studies.reference.prometar import ReferenceProMetaR

    return ReferenceProMetaR if is_reference(clip) and trainer == "prometar" else None


def difference(ours: Case, reference: Case) -> dict[str, float]:
    """How far the last steps are apart: losses as they are, gradients relative to their norm."""
    import torch

    def flat(updates: dict) -> torch.Tensor:
        return torch.cat([value.flatten().double() for value in updates.values()])

    loss = max(abs(ours.terms[name] - value).item() for name, value in reference.terms.items())
    pairs = [(flat(a), flat(b)) for a, b in zip(ours.updates, reference.updates, strict=True)]
    return {
        "loss": loss,
        "gradient": max(((a - b).norm() / b.norm()).item() for a, b in pairs),
    }
