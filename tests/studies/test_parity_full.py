"""The official runs tensor for tensor, on a larger CLIP and real pictures.

These records are too large to live in the project; where they stand beside a checkout, in
``../shared/golden``, they are replayed as well.
"""

from pathlib import Path

import pytest

from softprompt.core.studies.parity import TOLERANCE, Replay
from softprompt.core.studies.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT.parent / "shared" / "golden"
METHODS = sorted(file.parent.name for file in RECORDS.glob("*/golden.pt"))
METHODS = [name for name in METHODS if name != "ZeroshotCLIP"]  # it has no training run
LOSSES = ("cross_entropy", "l1_loss", "kl_div")


def load(file: Path):
    import torch

    return torch.load(file, weights_only=True)


def as_record(full: dict) -> dict:
    """A full record in the form of the portable ones, whose pairs are tensors here."""
    steps = []
    for step in full["steps"]:
        calls = step["calls"]
        losses = [call for call in calls if call["fn"] in LOSSES]
        draws = [call for call in calls if call["fn"] not in LOSSES]
        steps.append(
            {
                "lr": step["lr"],
                "loss_summary": step["loss_summary"],
                "losses": [[call["fn"], call["out"].tolist()] for call in losses],
                "draws": [[call["fn"], call["out"].tolist()] for call in draws],
                "updates": [
                    {
                        "of": event["opt"],
                        "lr": event["lr"],
                        "grads": event["grads"],
                        "after": event["params_after"],
                    }
                    for event in step["events"]
                ],
            }
        )
    shapes = {name: list(value.shape) for name, value in full["init_params"].items()}
    init = {"prompt": shapes, "seed": 7}
    if "init_vnet" in full:
        init["vnet"] = {name: list(value.shape) for name, value in full["init_vnet"].items()}
    tokens = full.get("tokenized_prompts")
    return {
        "batch": full["batch"],
        "classnames": full["classnames"],
        "official_config": full["argv"],
        "init": init,
        "tokenized_prompts": [row[row > 0].tolist() for row in tokens]
        if tokens is not None
        else [],
        "eval_logits_init": full["eval_logits_init"].tolist(),
        "eval_logits_final": full["eval_logits_final"].tolist(),
        "final": full["final_params"],
        "steps": steps,
    }


def as_recipe(full: dict, weights: dict, batches: dict) -> Recipe:
    values = {**full["init_params"], **full.get("init_vnet", {})}
    extra = ("input_resolution", "context_length", "vocab_size")
    return Recipe(
        spec={
            "embed_dim": 128,
            "image_resolution": 64,
            "vision_layers": 6,
            "vision_width": 128,
            "vision_patch_size": 16,
            "context_length": 77,
            "vocab_size": 49408,
            "transformer_width": 128,
            "transformer_heads": 2,
            "transformer_layers": 6,
        },
        state_dict=lambda: {k: v.float() for k, v in weights.items() if k not in extra},
        batches=lambda: (batches["images"], batches["labels"], batches["eval_images"]),
        init=lambda names, *_: {name: values[name].clone() for name in names},
        probe=lambda tensor: [],  # tensors are compared whole
    )


if METHODS:  # else there is nothing to replay, and nothing to be reported as skipped

    @pytest.mark.parametrize("method", METHODS)
    def test_every_tensor_of_an_official_run(method):
        class FullReplay(Replay):
            def compare_tensor(self, kind, ours, theirs):
                self.compare(kind, ((ours - theirs).norm() / theirs.norm()).item())

        full = load(RECORDS / method / "golden.pt")
        weights, batches = (load(RECORDS / "common" / f"{name}.pt") for name in ("tiny", "batches"))
        worst = FullReplay(as_record(full), as_recipe(full, weights, batches)).run()
        assert max(worst.values()) <= TOLERANCE, worst
