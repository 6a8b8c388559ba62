"""Add a finished run's settings, results, confusion matrices and embeddings to TensorBoard."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softprompt.core.base import parallel
from softprompt.core.base.errors import UserError
from softprompt.core.clip.prompted import PromptedCLIP
from softprompt.core.config.schema import NOT_COMPARED
from softprompt.core.config.yaml_files import flat_of
from softprompt.core.data.batch import Batch
from softprompt.core.engine.evaluate import confusions
from softprompt.core.engine.session import Session
from softprompt.core.engine.tensorboard import TensorBoard

EMBEDDED = 500  # images of a class set in the projector, at most
NAMED = 40  # classes whose names a confusion matrix has room for


class TensorBoardSummary:
    """The TensorBoard writer of one run; a context manager that closes its files.

    It is one for all class sets, because each writer replaces the projector's list of them.
    """

    def __init__(self, folder: Path, plots: Sequence[str]):
        """Check the requirements of the plots before training; write nothing yet.

        Args:
            folder: the run's folder.
            plots: "confusion" or "embeddings", as in ``TEST.TENSORBOARD``.

        Raises:
            UserError: matplotlib is missing for one.
        """
        self.board = TensorBoard(folder / "tensorboard")
        self.plots = tuple(plots)
        if "confusion" in plots:
            _pyplot()

    def __enter__(self) -> "TensorBoardSummary":
        return self

    def __exit__(self, *_) -> None:
        self.board.close()

    def plot(
        self, session: Session, subset: str, model: PromptedCLIP, logits: Tensor, labels: Tensor
    ) -> None:
        """Add the plots of the trained model on one class set.

        Args:
            logits: ``(images, classes)`` of the test images.
            labels: ``(images,)``, indices of ``model.classnames``.
        """
        if "confusion" in self.plots and parallel.is_main_process():
            figure = confusion_figure(logits.argmax(dim=-1), labels, model.classnames)
            self.board.add("figure", f"confusion/{subset}", figure)
        if "embeddings" in self.plots:
            features, rows = embeddings(model, session.tested_by([model], subset, EMBEDDED))
            header = ["kind", "class"]
            if parallel.is_main_process():  # all processes encode
                self.board.add("embedding", features, rows, metadata_header=header, tag=subset)

    def compare(self, contents: dict[str, Any]) -> None:
        """Add settings and results for TensorBoard's HPARAMS tab, which compares runs by them.

        Args:
            contents: of ``results.json``.
        """
        if not parallel.is_main_process():
            return
        chosen = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in flat_of(contents["config"]).items()
            if name not in NOT_COMPARED
        }
        scores = list(contents["results"].values())[-1]  # zero-shot CLIP, if there, comes first
        measured = {f"test/{subset} accuracy": it["accuracy"] for subset, it in scores.items()}
        if contents["harmonic_mean"]:
            measured["test/H"] = list(contents["harmonic_mean"].values())[-1]
        self.board.add("hparams", chosen, measured, run_name=".")  # this run, not one below it


@torch.no_grad()
def embeddings(model: PromptedCLIP, batches: Iterable[Batch]) -> tuple[Tensor, list[list[str]]]:
    """Return unit features ``(images + classes, dim)``, and the kind and class of each.

    A conditional learner's text features, which differ from image to image, are averaged.
    """
    images, labels, texts = [], [], []
    for batch in batches:
        features = model(batch)
        images.append(features.image.cpu())
        labels += batch.labels.tolist()
        text = features.text.float().cpu()
        texts.append(text if text.dim() == 2 else text.mean(dim=0))
    rows = [["image", model.classnames[label]] for label in labels]
    rows += [["text", name] for name in model.classnames]
    text = torch.nn.functional.normalize(torch.stack(texts).mean(dim=0), dim=-1)
    return torch.cat([*images, text.to(images[0].dtype)]).float(), rows


def confusion_figure(guesses: Tensor, labels: Tensor, classnames: Sequence[str]) -> Any:
    """Return a figure of the share of each class's images (rows) that is predicted as each class.

    Args:
        guesses, labels: ``(images,)``.
    """
    plt = _pyplot()
    counts = confusions(guesses, labels, len(classnames)).double()
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    side = min(12.0, 3 + 0.22 * len(classnames))
    figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
    figure.colorbar(axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="viridis"), shrink=0.7)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    if len(classnames) <= NAMED:
        axes.set_xticks(range(len(classnames)), classnames, rotation=90)
        axes.set_yticks(range(len(classnames)), classnames)
    return figure


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise UserError(
            'TEST.TENSORBOARD confusion needs matplotlib: pip install "softprompt[report]"'
        ) from None
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    return plt
