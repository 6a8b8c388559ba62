"""Pretraining of the embedded CLIP, the towers of ``tiny.json``, on generated captioned pictures.

A pool of pictures is drawn (``softprompt.core.synthetic.captions``), then the towers are trained
from scratch with CLIP's loss. It takes half an hour on two free cores.
"""

import json
import math
import multiprocessing
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, distributed
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.multiprocessing.spawn import start_processes
from torch.nn import functional as F

from softprompt.core.base.files import ASSETS, write_atomically
from softprompt.core.base.say import say
from softprompt.core.engine.optim import cosine
from softprompt.core.synthetic import captions

CHUNKS = 4  # a batch's captions are encoded in this many groups of similar length


@dataclass(frozen=True)
class Settings:
    """How to pretrain, and where the weights go."""

    steps: int
    batch: int  # pairs per worker
    lr: float
    warmup: int  # steps until the full rate
    pool: int  # pictures drawn before training
    wrong: int  # percent of captions that are wrong on purpose
    seed: int
    workers: int  # processes of one thread each
    output: Path

    def command(self) -> str:
        """Return the command that trains the same weights."""
        flags = ("steps", "batch", "lr", "warmup", "pool", "wrong", "seed", "workers")
        values = " ".join(f"--{flag} {getattr(self, flag)}" for flag in flags)
        return f"python tools/pretrain_tiny.py {values}"


def pretrain(settings: Settings) -> None:
    """Draw the pool and train, in ``settings.workers`` processes; the weights are saved on the way.

    Every 50 steps a line with loss, accuracy, logit scale and seconds is printed.
    """
    torch.set_num_threads(1)  # a process forked from threads would hang
    config = json.loads((ASSETS / "tiny.json").read_text())
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    pictures, sentences = draw_pool(settings.pool, settings.seed, settings.wrong)
    # ids keep their order, so 0 stays the padding and the end token stays the largest
    rows, tokens = tokenizer(sentences).unique(return_inverse=True)
    say(f"{len(pictures)} pictures, {len(rows)} tokens")
    with tempfile.TemporaryDirectory() as folder:
        given = (settings, f"{folder}/store", config, torch.from_numpy(pictures), tokens, rows)
        start_processes(train, given, nprocs=settings.workers, start_method="fork")


def draw_pool(count: int, seed: int, wrong: int) -> tuple[np.ndarray, list[str]]:
    """Return pictures (count, SIZE, SIZE, 3) uint8 and captions."""
    with multiprocessing.get_context("fork").Pool() as pool:
        jobs = ((i, seed, ("shapes", "patterns", "extra"), True, wrong) for i in range(count))
        pairs = pool.starmap(captions.pair, jobs, chunksize=500)
    return np.stack([picture for picture, _ in pairs]), [caption for _, caption in pairs]


def prepare(pictures: Tensor, side: int) -> Tensor:
    """Return one random window of all pictures, resized and normalized: (batch, 3, side, side)."""
    whole = pictures.shape[1]
    window = int(torch.randint(whole * 7 // 8, whole + 1, ()))
    top, left = torch.randint(0, whole - window + 1, (2,)).tolist()
    images = pictures[:, top : top + window, left : left + window].permute(0, 3, 1, 2) / 255
    images = F.interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (
        torch.tensor(v).view(3, 1, 1)
        for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    return (images - mean) / std


def encode_texts(model: Any, tokens: Tensor) -> Tensor:
    """Return text features (batch, dim); positions after the end token are not computed."""
    order = (tokens != 0).sum(1).argsort()
    features = []
    for group in order.chunk(CHUNKS):
        length = int((tokens[group] != 0).sum(1).max())
        rows = tokens[group, :length]
        x = model.token_embedding(rows) + model.positional_embedding[:length]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        features.append(x[torch.arange(len(rows)), rows.argmax(1)] @ model.text_projection)
    return torch.cat(features)[order.argsort()]


def clip_loss(model: open_clip.CLIP, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return CLIP's loss and the share of pictures whose best caption is their own."""
    image = model.encode_image(images)
    text = encode_texts(model, tokens)
    logits = model.logit_scale.exp() * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    labels = torch.arange(len(images))
    loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    return loss, (logits.argmax(1) == labels).float().mean()


def save(model: open_clip.CLIP, rows: Tensor, settings: Settings, notes: dict[str, str]) -> None:
    """Write float16 tensors under open_clip's names; of the token embedding its trained rows."""
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    tensors["token_embedding.trained"] = tensors.pop("token_embedding.weight")
    tensors["token_embedding.rows"] = rows.to(torch.int32)
    notes = {
        "command": settings.command(),
        "date": str(date.today()),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        **notes,
    }
    write_atomically(Path(settings.output), safetensors_bytes(tensors, metadata=notes))


def optimization(
    model: open_clip.CLIP, settings: Settings
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW and a schedule that rises linearly and falls as a cosine."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]  # biases, gains, the logit scale
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98))

    def rate(step: int) -> float:
        return cosine(min((step + 1) / settings.warmup, 1.0), step, settings.steps)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def train(
    rank: int,
    settings: Settings,
    store: str,
    config: dict,
    pictures: Tensor,
    tokens: Tensor,
    rows: Tensor,
) -> None:
    """Train in one of the worker processes, on batches of its own and averaged gradients.

    All workers hold equal models; the first one prints and saves.

    Args:
        store: a file through which the workers find each other.
        rows: the token ids that occur; ``tokens`` are indices of them.
    """
    started = time.time()
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=settings.workers
    )
    torch.manual_seed(settings.seed)
    text_config = {**config["text_cfg"], "vocab_size": len(rows)}
    model = open_clip.CLIP(**{**config, "text_cfg": text_config})
    optimizer, schedule = optimization(model, settings)
    order = torch.empty(0, dtype=torch.long)
    recent: list[tuple[float, float]] = []
    for step in range(settings.steps):
        if len(order) < settings.batch * settings.workers:
            order = torch.randperm(len(pictures))
        chosen = order[rank * settings.batch : (rank + 1) * settings.batch]
        order = order[settings.batch * settings.workers :]
        images = prepare(pictures[chosen], config["vision_cfg"]["image_size"])
        loss, accuracy = clip_loss(model, images, tokens[chosen])
        optimizer.zero_grad()
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = _flatten_dense_tensors(gradients)
        distributed.all_reduce(flat)
        flat /= settings.workers
        flat *= min(1.0, 1.0 / (flat.norm().item() + 1e-6))  # clipped to length 1
        for gradient, mean in zip(
            gradients, _unflatten_dense_tensors(flat, gradients), strict=True
        ):
            gradient.copy_(mean)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if rank:
            continue
        recent.append((loss.item(), 100 * accuracy.item()))
        if step % 50 == 49:
            (mean_loss, mean_accuracy), recent = np.mean(recent, axis=0), []
            say(
                f"step {step + 1}/{settings.steps} loss {mean_loss:.3f} "
                f"accuracy {mean_accuracy:.1f} "
                f"scale {model.logit_scale.exp():.1f} {time.time() - started:.0f} s"
            )
        if step % 250 == 249 or step + 1 == settings.steps:  # an early end leaves a usable file
            notes = {"step": str(step + 1), "seconds": f"{time.time() - started:.0f}"}
            save(model, rows, settings, notes)
