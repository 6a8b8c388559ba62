import math
import re
from typing import Annotated, Literal

import pytest
import yaml

from softprompt.core.base.errors import UserError
from softprompt.core.base.plugins import import_built_in
from softprompt.core.base.ranges import Range
from softprompt.core.config.check import check_value, check_values
from softprompt.core.config.load import config_hash, load_config, settings
from softprompt.core.config.options import COMPONENTS, option_keys, options_from
from softprompt.core.config.schema import KEYS, NOT_HASHED, defaults
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


# Seven lines that would hold ten million keys.
LAUGHS = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{{', '.join(f'k{k}: *a{n - 1}' for k in range(10))}}}\n" for n in range(1, 7)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SEED: 1\nOPTIM:\n  LRR: 1", "a.yaml, line 3: there is no option OPTIM.LRR; did you"),
        ("OPTIM: {LR: fast}", "line 1: OPTIM.LR is 'fast', but takes a number"),
        ("OPTIM: 3", "line 1: OPTIM holds options, 3 is none of them"),
        ("INPUT: [1, 2]", "INPUT holds options, .1, 2. is none of them"),
        ("OPTIM: {LR: {1: 2}}", "OPTIM.LR is one value, not a node with 1"),
        ("SEED: null", "SEED is None, but takes a whole number"),
        ("? [a]\n: 1", "no valid YAML: a key is a list or a mapping.*line 1"),
        ("? {a: 1}\n: 1", "no valid YAML: a key is a list or a mapping"),
        ("SEED: 2026-13-45", "no valid YAML: month must be"),
        ("SEED: " + "[" * 3000, "no valid YAML: it is nested too deeply"),
        ("OPTIM: &a {LR: 1, MORE: *a}", "no valid YAML: it is nested too deeply, or in itself"),
        ("TEST: {CLASSES: &a [*a]}", "TEST.CLASSES is "),
        (LAUGHS, "more than 10,000 keys"),
        ("\x00\x01", "no valid YAML: unacceptable character"),
        ("_BASE_: 3", "line 1: _BASE_ is 3, but takes the path of one YAML file"),
        ("_BASE_: [a.yaml, b.yaml]", "_BASE_ is .'a.yaml', 'b.yaml'., but takes the path of one"),
        ("_WHEN_: [{DATASET.NAME: [[a]], SET: {SEED: 2}}]", "_WHEN_ holds"),
        ("_WHEN_: [{DATASET.NUM_SHOTS: 1, SET: {OPTIM: 3, OPTIM.LR: 1}}]", "OPTIM is no one value"),
        ("PLUGINS: [1]", "line 1: PLUGINS is .1., but takes a list of texts"),
        ("!!python/object:os.system {}", "no valid YAML"),
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


def test_a_config_that_is_no_text_file_is_one_line(tmp_path):
    for config_file, says in ((tmp_path, "is a folder"), (tmp_path / "a", "no such config file")):
        with pytest.raises(UserError, match=says):
            load(config_file=str(config_file))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x9c")
    with pytest.raises(UserError, match="binary.yaml is no valid YAML"):
        load(config_file=str(tmp_path / "binary.yaml"))
    (tmp_path / "empty.yaml").touch()
    assert load(config_file=str(tmp_path / "empty.yaml")) == load()


# One value outside of each range, and one at its edge.
@pytest.mark.parametrize(
    ("key", "wrong", "says", "right"),
    [
        ("OPTIM.LR", "-1", "is -1.0, but must be above 0", "1e-9"),
        ("OPTIM.LR", "0", "must be above 0", "100"),
        ("OPTIM.LR", "1e300", "beyond single precision's 3.4e", "1"),
        ("DATALOADER.TRAIN_X.BATCH_SIZE", "9999999", "at most 1,000,000", "1000000"),
        ("PROMPT.VPT.N_CTX_VISION", "1001", "at least 1 and at most 1,000", "1000"),
        ("OPTIM.LR", ".inf", "is inf, but must be a finite number", "1"),
        ("OPTIM.LR", "1e999", "is inf, but must be a finite number", "1"),
        ("OPTIM.LR", ".nan", "is nan, but must be a finite number", "1"),
        ("OPTIM.LR", "1" * 400, "but takes a number", "1"),
        ("OPTIM.WEIGHT_DECAY", "-1", "must be at least 0", "0"),
        ("OPTIM.MOMENTUM", "7", "must be at least 0 and below 1", "0"),
        ("OPTIM.MOMENTUM", "1", "below 1", "0.999"),
        ("OPTIM.ADAM_BETA1", "1", "below 1", "0"),
        ("OPTIM.WARMUP_CONS_LR", "-1e-5", "at least 0", "0"),
        ("OPTIM.MAX_EPOCH", "1" * 400, "but must be at most 9223372036854775807", "1"),
        ("DATASET.ROOT", "a\0b", "with a character that no text has", "a"),
        ("OPTIM.MAX_EPOCH", "1" * 5000, "but takes a whole number", "1"),
        ("INPUT.RRCROP_SCALE", "(0.9, 0.1)", "the smaller first", "(0.1, 0.1)"),
        ("INPUT.RRCROP_SCALE", "(0.5,)", "takes 2 numbers, each above 0 and at most 1", "(0.1, 1)"),
        ("INPUT.RRCROP_SCALE", "('a', 'b')", "takes 2 numbers", "(0.1, 1)"),
        ("INPUT.RRCROP_SCALE", "(0, 1)", "each above 0", "(0.1, 1)"),
        ("INPUT.RRCROP_SCALE", "(0.5, .nan)", "takes 2 numbers", "(0.1, 1)"),
        ("INPUT.RRCROP_SCALE", "((0.1, 1), 1)", "takes 2 numbers", "(0.1, 1)"),
        ("INPUT.SIZE", "(224,)", "takes none or 2 numbers", "()"),
        ("INPUT.SIZE", "(a, b)", "takes none or 2 numbers", "(224, 224)"),
        ("INPUT.PIXEL_MEAN", "(123.7, 116.3, 103.5)", "at least 0 and at most 1", "(0, 0, 0)"),
        ("INPUT.PIXEL_STD", "(0, 1, 1)", "at least 1e-06", "(1, 1, 1)"),
        ("DATALOADER.MEMORY", "-1", "at least 0", ".inf"),
        ("TRAIN.PRINT_FREQ", "-1", "at least 0", "0"),
        ("TEST.CLASSES", "(base, 3)", "TEST.CLASSES is 3; it takes all, base", "base,new"),
        ("PROMPT.IVLP.N_CTX_TEXT", "-1", "at least 0", "0"),
        ("PROMPT.COOP.N_CTX", "0", "at least 1", "1"),
        ("PROMPT.COOP.CLASS_TOKEN_POSITION", "start", "it takes end, middle, front", "front"),
        ("TRAINER.PROMETAR.MIXUP_ALPHA", "0", "above 0", "0.1"),
        ("TRAINER.PROMETAR.ADAPT_LR", ".nan", "a finite number", "0"),
        ("TRAINER.PROGRAD.TEMPERATURE", "0", "above 0", "0.1"),
        ("TRAINER.PROMPTSRC.GPA_STD", "0", "above 0", "0.1"),
    ],
)
def test_every_range_is_checked_at_its_edges(key, wrong, says, right):
    component, name = key.split(".")[:2]
    chosen = [f"{component}.NAME", name] if component in ("PROMPT", "TRAINER") else []
    with pytest.raises(UserError, match=f"{key} is .*{says}|{says}") as error:
        load(*chosen, key, wrong)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300
    load(*chosen, key, right)


def test_values_that_exclude_one_another_are_refused():
    with pytest.raises(UserError, match="SGD_NESTEROV is True, but needs an OPTIM.MOMENTUM"):
        load("OPTIM.SGD_NESTEROV", "True", "OPTIM.MOMENTUM", "0")
    with pytest.raises(UserError, match="OPTIM is no one value"):
        load("OPTIM", "1", "OPTIM.LR", "1")


def test_every_number_refuses_what_is_none_and_has_a_range():
    import_built_in()
    options = [
        key
        for component, registry in COMPONENTS.items()
        for name in registry.names()
        for key in option_keys(f"{component}.{name}", registry[name])
    ]
    numbers = [key for key in (*KEYS, *options) if key.type in ("int", "float")]
    assert {key.name for key in numbers if key.numbers is None} == {"TRAINER.promptsrc.GPA_MEAN"}
    for key in numbers:
        check_value(key, key.default)
        with pytest.raises(UserError, match="finite"):
            check_value(key, math.nan)


def test_a_plugins_annotations_are_its_ranges():
    def owner(
        *,
        share: Annotated[float, Range(0, 1)] = 0.5,
        kind: Literal["a", "b"] = "a",
        sizes: tuple = (1, 2),
        limit: float = math.inf,
        odd: "Unknown" = 1,  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    ): ...

    for key in option_keys("X", owner):  # one that cannot be evaluated does no harm to the others
        check_value(key, key.default)
    keys = {key.name: key for key in option_keys("X", owner)}
    assert keys["X.SHARE"].takes == "at least 0 and at most 1"
    assert keys["X.KIND"].choices == ("a", "b")
    check_value(keys["X.LIMIT"], math.inf)
    check_value(keys["X.SIZES"], ("a", 2))
    with pytest.raises(UserError, match="finite"):
        check_value(keys["X.SIZES"], (math.nan,))


def test_each_key_has_one_row_with_a_meaning_and_a_valid_default():
    names = [key.name for key in KEYS]
    assert len(set(names)) == len(names)
    for key in KEYS:
        assert len(key.meaning) > 5
        assert value_at(defaults(), key.name) == key.default
    check_values(defaults(), KEYS)
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
