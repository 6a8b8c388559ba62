"""The one reader of results.json, and of a run's config.yaml: what each says of damaged ones."""

import json

import pytest

from softprompt.core.base.errors import UserError
from softprompt.core.config.load import load_config
from softprompt.core.config.saved import SavedSettings
from softprompt.core.engine import results
from softprompt.core.engine.run_folder import check_free

GOOD = {
    "format": 1,
    "results": {"coop under erm": {"base": {"accuracy": 70.0}}},
    "harmonic_mean": {},
}
SCORES = {"coop": {"base": {"accuracy": "70"}}}
DAMAGED = {
    "empty": ("", "is no results file"),
    "cut": ('{"results": {', "is no results file"),
    "deep": ("[" * 100_000, "is no results file"),
    "null": (None, "it is NoneType, not dict"),
    "a list": ([1], "it is list, not dict"),
    "the future": (GOOD | {"format": 2}, "has format 2, .* it needs a newer softprompt than"),
    "format": (GOOD | {"format": "one"}, "its format is 'one', not a number"),
    "no results": ({"format": 1}, "it has no 'results'"),
    "results": (GOOD | {"results": [1]}, "its 'results' is list, not dict"),
    "model": (GOOD | {"results": {"coop": 1}}, "its 'results.coop' is int, not dict"),
    "text": (GOOD | {"results": SCORES}, "its 'results.coop.base.accuracy' is str, not int or fl"),
    "scores": (GOOD | {"results": {"coop": {"base": {}}}}, "has no 'results.coop.base.accuracy'"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_results_are_one_line(kind, tmp_path):
    content, says = DAMAGED[kind]
    file = tmp_path / results.FILE
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=says) as raised:
        results.read(tmp_path, results.OF_A_RUN)
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)


def test_results_of_version_0_1_are_read(tmp_path):
    assert results.read(tmp_path) is None
    for found in (GOOD, {k: v for k, v in GOOD.items() if k != "format"}):
        results.write(tmp_path, found)
        assert results.read(tmp_path, results.OF_A_RUN) == found


CONFIGS = {
    "empty": (b"", "is empty, so the settings of its run are lost; delete it, and give them in"),
    "zeros": (bytes(50), "is no valid YAML"),
    "binary": (b"\x89PNG\xff\xfe", "is no valid YAML"),
    "a list": (b"- 1\n", "holds list, not KEY: value lines"),
    "cut": (b"SEED: 1\nOPTIM: {LR: ", "is no valid YAML"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_damaged_config_of_a_run_is_one_line(kind, root, tmp_path):
    content, says = CONFIGS[kind]
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    cfg = load_config(str(root / "configs/coop/tiny.yaml"))
    for read in (
        lambda: load_config(saved=SavedSettings(file)),
        lambda: check_free(cfg, tmp_path, resume=True),
    ):
        with pytest.raises(UserError, match=says) as raised:
            read()
        assert str(file) in str(raised.value) and "\n" not in str(raised.value)
    file.unlink()
    check_free(cfg, tmp_path, resume=True)  # as the line advises


def test_checkpoints_within_an_epoch_change_no_hash(root):
    from softprompt.core.config.load import config_hash
    from softprompt.core.meta.config import load_meta_config

    for load, file, key in (
        (load_config, "configs/coop/tiny.yaml", "TRAIN.CHECKPOINT_STEPS"),
        (load_meta_config, "configs/gram/meta_tiny.yaml", "META.OUTER.CHECKPOINT_STEPS"),
    ):
        cfg = load(str(root / file))
        assert config_hash(cfg) == config_hash(load(str(root / file), pairs=[key, "5"]))
