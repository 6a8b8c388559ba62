"""Which of the fast paths a run takes, in one line."""

import torch

from softprompt.core.base import parallel
from softprompt.core.clip.fast import chunked, ragged, sharded
from softprompt.core.clip.fast.store import FeatureStore
from softprompt.core.clip.prompted import PromptedCLIP, example_prompts


def describe(model: PromptedCLIP, batch_size: int, store: FeatureStore | None) -> str:
    """Return the line, for batches of so many images and gradients if these are enabled here.

    Where a method differentiates a gradient again, that pass may be cut into more chunks.
    """
    clip, learner, sentences = model.clip, model.learner, model.sentences
    prompts = example_prompts(learner, clip, batch_size)
    images = torch.empty(1, device=clip.device).expand(batch_size, 3, *clip.image_size)
    divided = any(map(sharded.applies, (batch_size, len(sentences))))
    images, sentences = images[_share(batch_size)], sentences[_share(len(sentences))]
    if prompts.prompts_text:
        layout = "ragged" if ragged.applies(clip.text, sentences, prompts) else "padded"
        cuts = chunked.cut_text(clip.memory_limit, clip.text, sentences, prompts)
        text = f"{layout} in {_chunks(len(cuts[0]) * len(cuts[1]))}"
    else:
        text = "encoded once"
    cut = chunked.cut_images(clip.memory_limit, clip.image, images, prompts)
    processes = f"over {parallel.world_size()} processes" if divided else "off"
    return (
        f"fast paths: text {text}, images in {_chunks(len(cut))}, "
        f"oneDNN {'on' if clip.onednn else 'off'}, "
        f"feature store {'off' if store is None else 'on'}, sharding {processes}"
    )


def _share(total: int) -> slice:
    """Return the largest part of so many images or classes that a process encodes."""
    return slice(-(-total // parallel.world_size()) if sharded.applies(total) else total)


def _chunks(count: int) -> str:
    return f"{count} chunk" + ("s" if count > 1 else "")
