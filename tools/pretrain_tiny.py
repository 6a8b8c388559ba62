"""Pretrains the embedded CLIP, core/assets/tiny.safetensors, on generated pictures and captions.

    python tools/pretrain_tiny.py

draws a pool of captioned pictures (softprompt.core.drawing.captions), then trains the towers of
core/assets/tiny.json from scratch with CLIP's loss. TIME
"""

import argparse
import json
import math
import multiprocessing
import time
from datetime import date
from pathlib import Path

import _checkout  # noqa: F401
import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from softprompt.core.drawing import captions

ASSETS = Path(__file__).resolve().parents[1] / "core" / "assets"
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
    logits = (
        model.logit_scale.exp() * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    )
    labels = torch.arange(len(images))
    loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    return loss, (logits.argmax(1) == labels).float().mean()


def save(model: open_clip.CLIP, rows: Tensor, path: Path, notes: dict[str, str]) -> None:
    """float16 tensors under open_clip's names; of the token embedding only the trained rows."""
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    tensors["token_embedding.trained"] = tensors.pop("token_embedding.weight")
    tensors["token_embedding.rows"] = rows.to(torch.int32)
    save_file(tensors, path, metadata=notes)


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


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    started = time.time()

    config = json.loads((ASSETS / "tiny.json").read_text())
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    pictures, sentences = draw_pool(args.pool, args.seed, args.wrong)
    pictures = torch.from_numpy(pictures)
    # ids keep their order, so 0 stays the padding and the end token stays the largest
    rows, tokens = tokenizer(sentences).unique(return_inverse=True)
    print(f"{args.pool} pictures, {len(rows)} tokens, {time.time() - started:.0f} s", flush=True)
    text_config = {**config["text_cfg"], "vocab_size": len(rows)}
    model = open_clip.CLIP(**{**config, "text_cfg": text_config})
    optimizer, schedule = optimization(model, args)
    notes = {
        "command": f"python tools/pretrain_tiny.py --steps {args.steps} --batch {args.batch} "
        f"--lr {args.lr} --warmup {args.warmup} --pool {args.pool} --wrong {args.wrong} "
        f"--seed {args.seed}",
        "date": str(date.today()),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
    }
    order = torch.empty(0, dtype=torch.long)
    recent: list[tuple[float, float]] = []
    for step in range(args.steps):
        if len(order) < args.batch:
            order = torch.randperm(args.pool)
        chosen, order = order[: args.batch], order[args.batch :]
        images = prepare(pictures[chosen], config["vision_cfg"]["image_size"])
        loss, accuracy = clip_loss(model, images, tokens[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        recent.append((loss.item(), 100 * accuracy.item()))
        if step % 50 == 49:
            means, recent = np.mean(recent, axis=0), []
            print(
                f"step {step + 1}/{args.steps} loss {means[0]:.3f} accuracy {means[1]:.1f} "
                f"scale {model.logit_scale.exp():.1f} {time.time() - started:.0f} s",
                flush=True,
            )
        if step % 250 == 249 or step + 1 == args.steps:  # an early end leaves a usable file
            done = {"step": str(step + 1), "seconds": f"{time.time() - started:.0f}"}
            save(model, rows, args.output, {**notes, **done})


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=200, help="steps until the full rate")
    parser.add_argument("--pool", type=int, default=80_000, help="pictures drawn before training")
    parser.add_argument("--wrong", type=int, default=15, help="percent of captions that lie")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=ASSETS / "tiny.safetensors")
    return parser.parse_args()


if __name__ == "__main__":
    main()
