"""Each random stream has a seed of its own, and moves nothing else."""

import pytest
import torch

from softprompt.core.base.registry import TRAINERS
from softprompt.core.base.seeding import STREAMS, seed_of
from softprompt.core.config.load import load_config
from softprompt.core.engine.run import train
from softprompt.core.engine.trainer import Trainer

SETTINGS = [
    *("DATASET.NAME", "shapes", "DATASET.NUM_SHOTS", "2", "DATASET.SUBSAMPLE_CLASSES", "base"),
    *("PROMPT.NAME", "coop", "PROMPT.COOP.N_CTX", "2", "TRAINER.NAME", "spy"),
    *("OPTIM.MAX_EPOCH", "1", "TEST.MAX_IMAGES", "2", "TEST.ZERO_SHOT", "False"),
    *(
        "DATALOADER.TRAIN_X.BATCH_SIZE",
        "4",
        "INPUT.PIXEL_MEAN",
        "(0,0,0)",
        "INPUT.PIXEL_STD",
        "(1,1,1)",
    ),
]


@pytest.fixture
def streams(clip, monkeypatch, tmp_path):
    """Train, and return what each stream brought forth."""
    seen: dict[str, list] = {}

    class Spy(Trainer):
        def __init__(self, model):
            super().__init__(model)
            seen["TRAINER"] = [torch.rand(2)]
            seen["PROMPT"] = [value.detach().clone() for value in model.params().values()]
            seen["DATALOADER"], seen["INPUT"] = [], []

        def loss(self, batch):
            seen["DATALOADER"].append(batch.labels)
            seen["INPUT"] += list(batch.images)
            seen["TRAINER"].append(torch.rand(2))
            return {"ce": self.model(batch.images).logits.sum()}

    monkeypatch.setitem(TRAINERS._classes, "spy", Spy)
    monkeypatch.setattr("softprompt.core.engine.shared.configured_clip", lambda *_: clip)
    # Pictures of nothing but augmentation, so that they tell of its stream alone.
    monkeypatch.setattr(
        "softprompt.core.engine.session.training_transform",
        lambda *_: lambda _: torch.rand(3, 32, 32),
    )
    runs = iter(range(100))

    def streams(*pairs: str) -> dict[str, list]:
        folder = str(tmp_path / f"run{next(runs)}")
        found = train(load_config(pairs=[*SETTINGS, "OUTPUT_DIR", folder, *pairs]))
        seen["INPUT"].sort(key=lambda image: image[0, 0, 0].item())
        return {**seen, "DATASET": [found["train"]["list_sha256"]]}

    return streams


def same(left: list, right: list) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(left, right, strict=True)
    )


def moved(before: dict, after: dict) -> set[str]:
    return {stream for stream in STREAMS if not same(before[stream], after[stream])}


def test_a_sweep_over_one_stream_moves_no_other(streams):
    before = streams()
    for stream in STREAMS:
        assert moved(before, streams(f"{stream}.SEED", "7")) == {stream}
        assert moved(before, streams(f"{stream}.SEED", "1")) == set()  # SEED is 1


def test_seed_moves_all_that_have_none_of_their_own(streams):
    before = streams()
    assert moved(before, streams("SEED", "2")) == set(STREAMS)
    fixed = [word for stream in STREAMS[1:] for word in (f"{stream}.SEED", "1")]
    assert moved(before, streams("SEED", "2", *fixed)) == set(STREAMS[:1])


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_of_no_seed_takes_the_runs(stream):
    cfg = load_config(pairs=[*SETTINGS[:10], "TRAINER.NAME", "erm", "SEED", "5"])
    assert seed_of(cfg, stream) == 5
