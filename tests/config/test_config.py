import re

import pytest
import yaml

from softprompt.core.base.errors import UserError
from softprompt.core.config.load import config_hash, load_config, settings
from softprompt.core.config.options import options_from
from softprompt.core.config.schema import KEYS, NOT_HASHED, check_values, defaults
from softprompt.core.config.values import value_at
from softprompt.core.engine.run_folder import run_folder

CHOSEN = ["DATASET.NAME", "shapes", "PROMPT.NAME", "ivlp", "TRAINER.NAME", "prometar"]


def load(*pairs, **kwargs):
    return load_config(pairs=[*CHOSEN, *pairs], **kwargs)


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "a.yaml") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_options_are_the_keyword_only_arguments():
    cfg = load()
    assert cfg.TRAINER.PROMETAR.ADAPT_LR == 5e-4
    assert options_from(cfg, "PROMPT")["ctx_init"] == "a photo of a"


def test_switching_a_component_leaves_no_keys_behind(write):
    file = write("TRAINER: {NAME: prometar, PROMETAR: {ADAPT_LR: 0.1}}")
    cfg = load("TRAINER.NAME", "kgcoop", config_file=file)
    assert set(cfg.TRAINER) == {"NAME", "SEED", "KGCOOP"}
    assert set(cfg.PROMPT) == {"NAME", "SEED", "IVLP"}


def test_later_sources_win(write):
    method = write("DATASET: {NUM_SHOTS: 1}\nSEED: 1\nOPTIM: {LR: 1.0}", "method.yaml")
    dataset = write("SEED: 2\nOPTIM: {LR: 2.0}", "dataset.yaml")
    cfg = load("SEED", "4", config_file=method, dataset_config_file=dataset, flags={"SEED": 3})
    assert (cfg.DATASET.NUM_SHOTS, cfg.SEED, cfg.OPTIM.LR) == (1, 4, 2.0)


def test_base_files_are_inherited(write):
    write("OPTIM: {LR: 1.0, MAX_EPOCH: 7}\nSEED: 5", "base.yaml")
    cfg = load(config_file=write("_BASE_: base.yaml\nOPTIM: {LR: 3.0}"))
    assert (cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH, cfg.SEED) == (3.0, 7, 5)


WHEN = """
OPTIM: {MAX_EPOCH: 200, LR: 2.0}
_WHEN_:
  - {DATASET.NUM_SHOTS: 1, SET: {OPTIM.MAX_EPOCH: 50}}
  - {DATASET.NUM_SHOTS: [2, 4], SET: {OPTIM.MAX_EPOCH: 100}}
  - {DATASET.NAME: imagenet, SET: {OPTIM.MAX_EPOCH: 50}}
  - {DATASET.NAME: [dtd, eurosat], DATASET.NUM_SHOTS: [8, 16], SET: {OPTIM: {LR: 1.0}}}
"""


@pytest.mark.parametrize(
    ("dataset", "shots", "epochs", "rate"),
    [
        ("dtd", 1, 50, 2.0),
        ("dtd", 4, 100, 2.0),
        ("EuroSAT", 8, 200, 1.0),
        ("imagenet", 16, 50, 2.0),
        ("shapes", -1, 200, 2.0),
    ],
)
def test_settings_by_dataset_and_shots(write, dataset, shots, epochs, rate):
    pairs = ["DATASET.NAME", dataset, "DATASET.NUM_SHOTS", str(shots)]
    cfg = load(*pairs, config_file=write(WHEN))
    assert (cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR) == (epochs, rate)
    again = load_config(write(cfg.dump(), "saved.yaml"))
    assert again == cfg


def test_a_condition_wins_over_its_file_and_its_base_and_loses_to_what_comes_after(write):
    write(WHEN, "base.yaml")
    child = write("_BASE_: base.yaml\nOPTIM: {MAX_EPOCH: 7}")
    few = ["DATASET.NUM_SHOTS", "1"]
    assert load(*few, config_file=child).OPTIM.MAX_EPOCH == 7
    again = write("_BASE_: a.yaml\n_WHEN_: [{DATASET.NUM_SHOTS: 1, SET: {OPTIM.LR: 9}}]", "b.yaml")
    cfg = load(*few, config_file=again)
    assert (cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.LR) == (7, 9.0)
    dataset = write("DATASET: {NAME: imagenet}\nOPTIM: {MAX_EPOCH: 8}", "dataset.yaml")
    base = write(WHEN, "base.yaml")
    assert load_config(base, dataset, pairs=CHOSEN[2:]).OPTIM.MAX_EPOCH == 8
    assert load(*few, "OPTIM.MAX_EPOCH", "9", config_file=base).OPTIM.MAX_EPOCH == 9


def test_the_saved_config_loads_to_itself(write):
    cfg = load("SEED", "0", "TEST.CLASSES", "[base, new]")
    again = load_config(write(cfg.dump()))
    assert again == cfg
    assert config_hash(again) == config_hash(cfg)


def test_the_hash_ignores_where_and_sees_what():
    assert config_hash(load("OUTPUT_DIR", "x")) == config_hash(load("DATASET.ROOT", "y"))
    assert config_hash(load("SEED", "2")) != config_hash(load("SEED", "3"))


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("OPTIM.LR", "1", 1.0),
        ("OPTIM.LR", "1e-3", 1e-3),
        ("SEED", "0", 0),
        ("TRAINER.PROMETAR.PLAIN_STEP", "False", False),
        ("TEST.CLASSES", "('base', 'new')", ("base", "new")),
        ("TEST.CLASSES", "(base, new)", ("base", "new")),
        ("TEST.CLASSES", "new", ("new",)),
        ("MODEL.BACKBONE.PRETRAINED", "", ""),
        ("PROMPT.IVLP.CTX_INIT", "None", "None"),
        ("INPUT.SIZE", "(224, 224)", (224, 224)),
    ],
)
def test_values_take_the_type_of_the_default(key, text, value):
    node = load(key, text)
    for part in key.split("."):
        node = node[part]
    assert node == value
    assert type(node) is type(value)


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        (["OPTIM.LRR", "1"], "no option OPTIM.LRR; did you mean 'LR'?"),
        (["TRAINER.PROMETAR.ADAPT", "1"], "did you mean 'ADAPT_LR'?"),
        (["TRAINER.PROMETA.ADAPT_LR", "1"], "did you mean 'PROMETAR'?.*PLUGINS"),
        (["TRAINER.NAME", "prometr"], "no trainer named 'prometr'; did you mean 'prometar'?"),
        (["PROMPT.NAME", "xyz"], "no prompt learner named 'xyz'. Registered: "),
        (["OPTIM.LR", "fast"], "OPTIM.LR is 'fast', but takes a number"),
        (["SEED", "1.5"], "SEED is '1.5', but takes a whole number"),
        (["SEED", "-1"], "SEED is -1"),
        (["TRAINER.PROMETAR.PLAIN_STEP", "1"], "takes True or False"),
        (["OPTIM", "1"], "OPTIM holds options"),
        (["OPTIM.LR.X", "1"], "OPTIM.LR is one value"),
        (["SEED"], "'SEED' is left over"),
        (["MODEL.PRECISION", "fp64"], "MODEL.PRECISION is 'fp64'"),
        (["DATASET.SUBSAMPLE_CLASSES", "bass"], "did you mean 'base'?"),
        (["TEST.CLASSES", "old"], "TEST.CLASSES is 'old'; it takes all, base, new, generalized"),
        (["TEST.TENSORBOARD", "confusions"], "is 'confusions'; did you mean 'confusion'?"),
        (["DATASET.NUM_SHOTS", "0"], "NUM_SHOTS is 0; give a number of at least 1, or -1: all"),
        (["OPTIM.MAX_EPOCH", "0"], "MAX_EPOCH is 0"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(pairs, says):
    with pytest.raises(UserError) as error:
        load(*pairs)
    assert re.search(says.replace("?", r"\?"), str(error.value)), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("OPTIM: {LRR: 1}", "a.yaml: there is no option OPTIM.LRR"),
        ("SEED: 1\nSEED: 2", "SEED is given twice"),
        ("- 1", "holds list"),
        ("a: [", "no valid YAML"),
        ("_BASE_: missing.yaml", "no such config file"),
        ("_BASE_: a.yaml", "in a circle"),
        ("_WHEN_: 3", "_WHEN_ holds 3, but takes"),
        ("_WHEN_: [{SET: {SEED: 2}}]", "takes a list of conditions"),
        ("_WHEN_: [{SEED: 1, SET: {SEED: 2}}]", "conditions on DATASET.NAME or"),
        ("_WHEN_: [{DATASET.NAME: dtd, SET: {DATASET.NUM_SHOTS: 2}}]", "outside DATASET"),
        ("_WHEN_: [{DATASET.NAME: dtt, SET: {SEED: 2}}]", "no dataset 'dtt'; did you mean 'dtd'"),
        ("_WHEN_: [{DATASET.NAME: shapes, SET: {OPTIM.LRR: 2}}]", "_WHEN_.*no option OPTIM.LRR"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(write, text, says):
    with pytest.raises(UserError, match=says) as error:
        load(config_file=write(text))
    assert "\n" not in str(error.value)


def test_each_key_has_one_row_with_a_meaning_and_a_valid_default():
    names = [key.name for key in KEYS]
    assert len(set(names)) == len(names)
    for key in KEYS:
        assert len(key.meaning) > 5
        assert value_at(defaults(), key.name) == key.default
    check_values(defaults())
    assert {"OUTPUT_DIR", "DATASET.ROOT", "CACHE.DIR", "TEST.TENSORBOARD"} <= set(NOT_HASHED)


def test_what_must_be_chosen_is_named():
    with pytest.raises(UserError, match="DATASET.NAME is not set.*shapes"):
        load_config()


def test_the_configuration_is_frozen():
    with pytest.raises(AttributeError):
        load().SEED = 5


def test_every_config_loads_and_its_folder_names_a_method(root):
    from softprompt.core.base.registry import PROMPT_LEARNERS, TRAINERS

    files = [
        file
        for file in (root / "configs").glob("*/*.yaml")
        if file.parent.name not in SHARED and not file.name.startswith("meta_")
    ]
    assert len(files) >= 22
    for file in files:
        cfg = load_config(str(file))
        method = file.parent.name
        assert method in (cfg.TRAINER.NAME, cfg.PROMPT.NAME), file
        assert method in TRAINERS or method in PROMPT_LEARNERS
        first = file.read_text().splitlines()[0]
        assert first.startswith("# "), f"{file} does not open with what it is"
        command = rf"(--config-file|tools/\w+\.sh) configs/{method}/{re.escape(file.name)}"
        assert re.search(command, file.read_text()), file


SHARED = ("base", "datasets")


def test_every_dataset_config_names_its_file(root):
    for file in (root / "configs" / "datasets").glob("*.yaml"):
        assert yaml.safe_load(file.read_text())["DATASET"]["NAME"] == file.stem


LATER = [
    *("MODEL.BACKBONE.QUICK_GELU", "off", "INPUT.VALUE_RANGE", "(0, 4095)"),
    *("INPUT.EXIF_ORIENTATION", "True", "DATASET.NAMES_FILE", "names.csv"),
]


def test_a_later_key_changes_no_hash_until_it_is_set():
    cfg = load()
    assert config_hash(cfg) == "e8f47a965a73"  # of version 0.1
    for key, value in zip(LATER[::2], LATER[1::2], strict=True):
        assert config_hash(load(key, value)) != config_hash(cfg)
        (*parents, leaf), kept = key.split("."), settings(cfg)
        for parent in parents:
            kept = kept[parent]
        assert leaf not in kept


def test_a_run_without_a_later_key_is_that_of_its_default(tmp_path):
    def check(cfg) -> None:
        run_folder(cfg, resume=True)

    saved = {"OUTPUT_DIR": str(tmp_path), **settings(load())}  # as version 0.1 wrote it
    for content in (yaml.safe_dump(saved), load("OUTPUT_DIR", str(tmp_path)).dump()):
        (tmp_path / "config.yaml").write_text(content)
        check(load("OUTPUT_DIR", str(tmp_path)))
        for key, value in zip(LATER[::2], LATER[1::2], strict=True):
            with pytest.raises(UserError, match=f"holds a run with {key} "):
                check(load("OUTPUT_DIR", str(tmp_path), key, value))
