"""What each row of the benchmark runs: ours, and the reference's."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from softprompt.core.base.files import CONFIGS
from softprompt.core.base.registry import TRAINERS
from softprompt.core.base.seeding import seeded
from softprompt.core.clip.frozen import FrozenCLIP
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.config.load import load_config
from softprompt.core.config.options import options_from
from softprompt.core.data import imagenet
from softprompt.core.data.batch import Batch
from softprompt.core.engine.build import build_learner
from softprompt.core.engine.evaluate import Classifier
from softprompt.core.engine.optim import Optim
from softprompt.core.studies.benchmark.rows import Row
from softprompt.core.studies.reference.clip import ReferenceCLIP
from softprompt.core.studies.reference.prometar import ReferenceProMetaR

# Of the test set that an evaluation's cost is stated for; one batch of it is run.
TEST_IMAGES, TEST_BATCH = 1000, 100


class Part(NamedTuple):
    """Something to run, and how many times the cost of the row contains it."""

    run: Callable[[], object]
    times: float


class Case:
    """One row at one number of classes, for one variant: its parts, and its last step's numbers."""

    def __init__(
        self,
        row: Row,
        clip: FrozenCLIP,
        classes: int,
        pairs: Sequence[str] = (),
        size: str = "vit_b16",
    ):
        """Build what the row runs.

        Args:
            clip: ours, or a ``ReferenceCLIP`` for the reference's side.
            pairs: KEY VALUE pairs that change the row's configuration.
            size: the name of the configuration among those of the row's method.
        """
        file = CONFIGS / row.method / f"{size}.yaml"
        self.cfg = load_config(str(file), "", {}, list(pairs))
        self.clip = clip
        self.names = class_names(classes)
        self.is_reference = isinstance(clip, ReferenceCLIP)
        self.updates: list[dict[str, Tensor]] = []
        self.terms: dict[str, Tensor] = {}
        build = {
            "step": self._step,
            "fixed": self._fixed,
            "evaluation": self._evaluation,
            "start": self._start,
        }
        self.parts: list[Part] = build[row.kind]()

    def _model(self) -> PromptedCLIP:
        learner = build_learner(self.cfg, self.clip, self.names)
        return PromptedCLIP(self.clip, learner, self.names)

    def _images(self, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(5)
        images = torch.randn(count, 3, *self.clip.image_size, generator=generator)
        return images.to(self.clip.device)

    def _fixed(self) -> list[Part]:
        """Return a step on images whose unprompted features an earlier epoch has computed."""
        return self._step(known=not self.is_reference)

    def _step(self, known: bool = False) -> list[Part]:
        """Return a training step; teachers' text features, which have their own row, are noise."""
        generator = torch.Generator().manual_seed(6)
        noise = torch.randn(len(self.names), self.clip.dim, generator=generator)
        noise = noise.to(self.clip.device)
        clip: Any = self.clip
        clip.class_features = lambda *_, **__: noise
        model = self._model()
        with seeded(1, "trainer"):
            trainer = self._trainer()(model, **options_from(self.cfg, "TRAINER"))
        trainer.prepare(Optim.from_config(self.cfg.OPTIM))
        trainer.start_epoch(1)
        size = self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
        images = self._images(size)
        labels = torch.arange(size, device=images.device) % len(self.names)
        features = self.clip.encode_image(images) if known else None
        update = trainer.update

        def recording_update(gradients: dict[str, Tensor], *which: str) -> None:
            self.updates.append({name: value.detach() for name, value in gradients.items()})
            update(gradients, *which)

        trainer.update = recording_update

        def step() -> None:
            self.updates.clear()
            torch.manual_seed(7)
            batch = Batch(images, labels)  # which does not remember the step before
            if features is not None:
                batch = batch.with_unprompted(self.clip, lambda known=features: known)
            # Detached, or the graph of one step would be there while the next one is computed.
            self.terms = {name: term.detach() for name, term in trainer.step(batch).items()}

        return [Part(step, 1)]

    def _evaluation(self) -> list[Part]:
        """Return the parts of an evaluation in batches of the official size.

        The official code encodes the text again for every batch, and where prompts depend on the
        image, for one image after another.
        """
        model, images = self._model(), self._images(TEST_BATCH)
        batches = TEST_IMAGES / TEST_BATCH
        with torch.no_grad():
            classifier = Classifier(model)

        @torch.no_grad()
        def text() -> None:
            model.encode_text(model.prompts())

        @torch.no_grad()
        def batch() -> None:
            classifier(images)

        if not model.learner.conditional:
            return [Part(text, batches if self.is_reference else 1), Part(batch, batches)]
        if not self.is_reference:
            return [Part(batch, batches)]

        @torch.no_grad()
        def pictures() -> None:
            self.clip.encode_image(images)

        feature = F.normalize(torch.ones(1, self.clip.dim, device=images.device), dim=-1)

        @torch.no_grad()
        def text_of_one() -> None:
            model.encode_text(model.prompts(None, feature))

        return [Part(pictures, batches), Part(text_of_one, TEST_IMAGES)]

    def _trainer(self) -> type:
        """Return the trainer class; the reference's does all that the official code does."""
        name = self.cfg.TRAINER.NAME
        return ReferenceProMetaR if self.is_reference and name == "prometar" else TRAINERS[name]

    def _start(self) -> list[Part]:
        """Return the teacher's sentences; every template costs the same."""
        return [Part(lambda: self.clip.encode_in_chunks(self.names, "itap of a {}."), 60)]


def class_names(count: int) -> tuple[str, ...]:
    """Return this many of ImageNet's class names, evenly spaced in the list."""
    names = list(imagenet.read_classnames(Path("nowhere")).values())
    return tuple(names[i * len(names) // count] for i in range(count))


def difference(ours: Case, reference: Case) -> dict[str, float]:
    """Return how far the last steps are apart.

    Returns:
        ``loss``, the largest absolute difference, and ``gradient``, the largest one relative to the
        reference's norm.
    """

    def flat(updates: dict[str, Tensor]) -> Tensor:
        return torch.cat([value.flatten().double() for value in updates.values()])

    loss = max(abs(ours.terms[name] - value).item() for name, value in reference.terms.items())
    pairs = [(flat(a), flat(b)) for a, b in zip(ours.updates, reference.updates, strict=True)]
    return {
        "loss": loss,
        "gradient": max(((a - b).norm() / b.norm()).item() for a, b in pairs),
    }
