"""The training of the embedded CLIP by ``tools/pretrain_tiny.py``: pool, loss and loop."""

import argparse
import math
import multiprocessing
import time
from datetime import date

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, distributed
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.nn import functional as F

from softprompt.core.synthetic import captions

CHUNKS = 4  # a batch's captions are encoded in this many groups of similar length


def draw_pool(count: int, seed: int, wrong: int) -> tuple[np.ndarray, list[str]]:
    """Pictures (count, SIZE, SIZE, 3) uint8 and captions."""
    with multiprocessing.get_context("fork").Pool() as pool:
        jobs = ((i, seed, ("shapes", "patterns", "extra"), True, wrong) for i in range(count))
        pairs = pool.starmap(captions.pair, jobs, chunksize=500)
    return np.stack([picture for picture, _ in pairs]), [caption for _, caption in pairs]


def prepare(pictures: Tensor, side: int) -> Tensor:
    """A random window (the same for the batch), resized and normalised: (batch, 3, side, side)."""
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


def encode_texts(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """Text features (batch, dim); nothing is computed for positions after the end token."""
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
    """CLIP's loss and the share of pictures that find their caption."""
    image = model.encode_image(images)
    text = encode_texts(model, tokens)
    logits = model.logit_scale.exp() * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    labels = torch.arange(len(images))
    loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    return loss, (logits.argmax(1) == labels).float().mean()


def save(
    model: open_clip.CLIP, rows: Tensor, args: argparse.Namespace, notes: dict[str, str]
) -> None:
    """float16 tensors under open_clip's names; of the token embedding only the trained rows."""
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    tensors["token_embedding.trained"] = tensors.pop("token_embedding.weight")
    tensors["token_embedding.rows"] = rows.to(torch.int32)
    flags = ("steps", "batch", "lr", "warmup", "pool", "wrong", "seed", "workers")
    notes = {
        "command": "python tools/pretrain_tiny.py "
        + " ".join(f"--{flag} {getattr(args, flag)}" for flag in flags),
        "date": str(date.today()),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        **notes,
    }
    save_file(tensors, args.output, metadata=notes)


def optimization(model: open_clip.CLIP, args: argparse.Namespace):
    """AdamW and a schedule that rises linearly and falls as a cosine."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]  # biases, gains, the logit scale
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98))

    def rate(step: int) -> float:
        ramp = min((step + 1) / args.warmup, 1.0)
        return ramp * 0.5 * (1 + math.cos(math.pi * step / args.steps))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def train(
    rank: int,
    args: argparse.Namespace,
    config: dict,
    pictures: Tensor,
    tokens: Tensor,
    rows: Tensor,
) -> None:
    """One of `args.workers` processes: own batches, averaged gradients, so equal models."""
    started = time.time()
    torch.set_num_threads(1)
    store = distributed.FileStore(args.store, args.workers)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=args.workers)
    torch.manual_seed(args.seed)
    text_config = {**config["text_cfg"], "vocab_size": len(rows)}
    model = open_clip.CLIP(**{**config, "text_cfg": text_config})
    optimizer, schedule = optimization(model, args)
    order = torch.empty(0, dtype=torch.long)
    recent: list[tuple[float, float]] = []
    for step in range(args.steps):
        if len(order) < args.batch * args.workers:
            order = torch.randperm(len(pictures))
        chosen = order[rank * args.batch : (rank + 1) * args.batch]
        order = order[args.batch * args.workers :]
        images = prepare(pictures[chosen], config["vision_cfg"]["image_size"])
        loss, accuracy = clip_loss(model, images, tokens[chosen])
        optimizer.zero_grad()
        loss.backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        flat = _flatten_dense_tensors(gradients)
        distributed.all_reduce(flat)
        flat /= args.workers
        flat *= min(1.0, 1.0 / (flat.norm().item() + 1e-6))  # clipped to length 1
        means = _unflatten_dense_tensors(flat, gradients)
        torch._foreach_copy_(gradients, means)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if rank:
            continue
        recent.append((loss.item(), 100 * accuracy.item()))
        if step % 50 == 49:
            means, recent = np.mean(recent, axis=0), []
            print(
                f"step {step + 1}/{args.steps} loss {means[0]:.3f} accuracy {means[1]:.1f} "
                f"scale {model.logit_scale.exp():.1f} {time.time() - started:.0f} s",
                flush=True,
            )
        if step % 250 == 249 or step + 1 == args.steps:  # an early end leaves a usable file
            notes = {"step": str(step + 1), "seconds": f"{time.time() - started:.0f}"}
            save(model, rows, args, notes)
