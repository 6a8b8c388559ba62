"""The rate of the inner steps, chosen on held-out tasks before meta-training."""

from collections.abc import Iterable

import torch

from softprompt.core.base.log import logger
from softprompt.core.meta.episodes import Episode
from softprompt.core.meta.objective import Objective

RATES = (0.002, 0.01, 0.05, 0.1, 0.5)
DROP = 0.1  # of the support's cross-entropy, that one raw step should reach


def calibrated_rate(objective: Objective, episodes: Iterable[Episode]) -> float:
    """Return the smallest of ``RATES`` at which one raw step lowers the support's loss by a tenth.

    Where none does, it is the one that lowers it most.
    """
    params = dict(objective.learner.named_parameters())
    before, after = 0.0, dict.fromkeys(RATES, 0.0)
    for episode in episodes:
        raw = objective.inner_gradients(episode.support, params)
        with torch.no_grad():
            before += objective.loss(episode.support, params)[0].item()
            for rate in RATES:
                moved = {name: value - rate * raw[name] for name, value in params.items()}
                after[rate] += objective.loss(episode.support, moved)[0].item()
    left = {rate: loss / before for rate, loss in after.items()}
    enough = [rate for rate in RATES if left[rate] <= 1 - DROP]
    chosen = enough[0] if enough else min(RATES, key=left.get)
    shares = ", ".join(f"{rate:g}: {share:.3f}" for rate, share in left.items())
    logger.info(
        f"inner rate {chosen:g}; share of the support's loss that a raw step leaves at {shares}"
    )
    return chosen
