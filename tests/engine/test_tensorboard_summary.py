"""What TensorBoard shows of runs, read back from its own files."""

import importlib.util
from pathlib import Path

import pytest
import torch

from softprompt.core.engine.tensorboard_summary import confusion_figure, embeddings

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["DATASET.NUM_SHOTS", "1", "OPTIM.MAX_EPOCH", "1", "TEST.MAX_IMAGES", "30"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The TensorBoard folder of a run with all drawings."""
    spec = importlib.util.spec_from_file_location("train_tool", ROOT / "tools" / "train.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    out = tmp_path_factory.mktemp("board") / "run"
    config = ["--config-file", str(ROOT / "configs/coop/tiny.yaml"), "--output-dir", str(out)]
    drawn = ["TEST.TENSORBOARD", "(confusion, embeddings)", "DATALOADER.TRAIN_X.BATCH_SIZE", "16"]
    assert tool.main([*config, *QUICK, *drawn]) == 0
    return out / "tensorboard"


@pytest.fixture(scope="module")
def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_results_are_scalars_beside_those_of_training(events):
    scalars = set(events.Tags()["scalars"])
    assert {"train/lr", "test/base accuracy", "test/new accuracy", "test/H"} <= scalars
    assert 0 <= events.Scalars("test/H")[0].value <= 100


def test_settings_stand_where_the_hparams_tab_compares_runs_by_them(events):
    from tensorboard.plugins.hparams.metadata import (
        SESSION_START_INFO_TAG,
        parse_session_start_info_plugin_data,
    )

    metadata = events.SummaryMetadata(SESSION_START_INFO_TAG)
    hparams = parse_session_start_info_plugin_data(metadata.plugin_data.content).hparams
    assert hparams["OPTIM.LR"].number_value > 0
    assert hparams["PROMPT.NAME"].string_value == "coop"
    assert "SEED" in hparams and "DATASET.NUM_SHOTS" in hparams
    assert not [name for name in hparams if name.startswith("TEST.") or "OUTPUT" in name]


def test_each_class_set_has_a_confusion_matrix(events):
    assert {"confusion/base", "confusion/new"} <= set(events.Tags()["images"])


def test_images_and_texts_are_in_the_projector(folder):
    assert (folder / "projector_config.pbtxt").read_text().count("embeddings {") == 2
    for subset in ("base", "new"):
        (metadata,) = folder.glob(f"*/{subset}/metadata.tsv")
        header, *rows = metadata.read_text().splitlines()
        assert header == "kind\tclass"
        kinds = [row.split("\t")[0] for row in rows]
        assert kinds.count("image") == 30 and 0 < kinds.count("text") < 30
        tensors = (metadata.parent / "tensors.tsv").read_text().splitlines()
        assert len(tensors) == len(rows)


@pytest.mark.parametrize("learner", ["coop", "cocoop", "vpt"])
def test_embeddings_have_unit_length_and_are_named(learner, clip, batch, names, make_model):
    features, rows = embeddings(make_model(learner, clip), [batch, batch])
    assert features.shape == (2 * 8 + len(names), 32)
    assert torch.allclose(features.norm(dim=-1), torch.ones(len(rows)), atol=1e-5)
    assert rows[:2] == [["image", names[0]], ["image", names[1]]]
    assert rows[-1] == ["text", names[-1]]


def test_a_confusion_matrix_has_shares_of_each_class():
    guesses, labels = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])
    figure = confusion_figure(guesses, labels, ("a", "b", "never seen"))
    shares = figure.axes[0].images[0].get_array()
    assert shares.round(2).tolist() == [[0.67, 0.33, 0], [0, 1, 0], [0, 0, 0]]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [
        "a",
        "b",
        "never seen",
    ]
