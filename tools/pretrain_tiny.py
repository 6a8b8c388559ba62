"""Pretrains the embedded CLIP, core/assets/tiny.safetensors, on generated pictures and captions.

    python tools/pretrain_tiny.py

draws a pool of captioned pictures (softprompt.core.synthetic.captions), then trains the towers of
core/assets/tiny.json from scratch with CLIP's loss. It takes half an hour on two free cores.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import _checkout  # noqa: F401

ASSETS = Path(__file__).resolve().parents[1] / "core" / "assets"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch", type=int, default=96, help="pairs a worker")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=120, help="steps until the full rate")
    parser.add_argument("--pool", type=int, default=60_000, help="pictures drawn before training")
    parser.add_argument("--wrong", type=int, default=15, help="percent of captions that lie")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--output", type=Path, default=ASSETS / "tiny.safetensors")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    args = parse(arguments)
    import open_clip
    import torch
    from _pretraining import draw_pool, train
    from torch.multiprocessing import start_processes

    torch.set_num_threads(1)  # a process forked from threads would hang
    config = json.loads((ASSETS / "tiny.json").read_text())
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])
    pictures, sentences = draw_pool(args.pool, args.seed, args.wrong)
    # ids keep their order, so 0 stays the padding and the end token stays the largest
    rows, tokens = tokenizer(sentences).unique(return_inverse=True)
    print(f"{len(pictures)} pictures, {len(rows)} tokens", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        args.store = f"{folder}/store"
        given = (args, config, torch.from_numpy(pictures), tokens, rows)
        start_processes(train, given, nprocs=args.workers, start_method="fork")


if __name__ == "__main__":
    main(sys.argv[1:])
