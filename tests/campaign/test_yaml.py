"""Configuration files of any form: read as what they say, or refused in one line."""

from pathlib import Path

import yaml
from forked import ROOT, TRAIN, run
from hypothesis import strategies as st
from inputs import NASTY, Campaign
from oracle import judge, listing, refused, unchanged
from test_settings import judge_training

KIND = "configuration files"
CONFIG = (
    (ROOT / "configs/coop/tiny.yaml").read_text().replace("../base", str(ROOT / "configs/base"))
)
REST = TRAIN[2:]

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(NASTY) | st.dates()
)
NODES = (
    "DATASET PROMPT TRAINER OPTIM INPUT MODEL TEST _BASE_ SEED PLUGINS DATALOADER NAME COOP".split()
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NODES) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


def check_file(content: bytes, folder: Path) -> None:
    file = folder / "mine.yaml"
    file.write_bytes(content)
    before = listing(folder)
    outcome = run("train", "--config-file", str(file), *REST, "--output-dir", "run", cwd=folder)
    judge_training(outcome, folder, before)


@st.composite
def damaged(draw) -> bytes:
    """Draw the text of a good file with a few places changed."""
    text = CONFIG
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 12))
        new = draw(st.sampled_from(("", " ", "  ", "\t", "\n", *NASTY)))
        text = text[:at] + new + text[at + length :]
    return text.encode("utf-8", errors="surrogatepass")


def test_a_file_with_a_few_characters_changed(campaign: Campaign):
    campaign.run(damaged(), check_file, inputs=150)


@st.composite
def replaced(draw) -> bytes:
    """Draw a good file with a node of any other form."""
    good = {"_BASE_": str(ROOT / "configs/coop/tiny.yaml")}
    good[draw(st.sampled_from(NODES))] = draw(trees)
    text = yaml.safe_dump(good, allow_unicode=True)
    return text.encode("utf-8", errors="surrogatepass")


def test_a_node_of_any_form(campaign: Campaign):
    campaign.run(replaced(), check_file, inputs=150)


ODD = (
    b"", b"\0", b"\xff\xfe", b"---\n---\n", b"- a\n- b\n", b"3", b"text", b"{1: 2}",
    b"? [a]\n: b\n", b"? {a: b}\n: c\n", b"a: &x [*x]", b"a: &x {b: *x}", b"[" * 3000,
    b"{" * 3000, b"a: " * 500,
    b"a: !!python/object/apply:os.system ['touch pwned']", b"_BASE_: 3", b"_BASE_: [a, b]",
    b"_BASE_: mine.yaml", b"_BASE_: .", b"_BASE_: /dev/null", b"_BASE_: ''", b"_BASE_: ~",
    b"_BASE_: {a: b}", b"OPTIM: 3", b"OPTIM: []", b"OPTIM:\n  LR:\n    X: 3", b"OPTIM: {LR: {}}",
    b"SEED: 1\nSEED: 2", b"OPTIM: {LR: 1}\nOPTIM: {MAX_EPOCH: 2}", b"INPUT: {SIZE: 3}",
    b"<<: {a: b}", b"PLUGINS: 3", b"PLUGINS: {a: b}", b"PLUGINS: [3]", b"PLUGINS: ['']",
    b"PLUGINS: [os]",
    b"TEST: {CLASSES: all}", b"TEST: {CLASSES: [[all]]}", b"DATASET: shapes",
    b"\xef\xbb\xbfSEED: 2",
    b"%YAML 9.9\n---\nSEED: 1", b"SEED: 2001-01-01", b"SEED: 1.5", b"SEED: 1e3", b"SEED: '1'",
    b"seed: 3", b"Seed: 3", b"OPTIM.LR: 3", b"a\tb: c", b"SEED:\t1", b"x" * 100_000,
    b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: &d [*c,*c]\ne: [*d,*d]",
)  # fmt: skip


def test_odd_files(campaign: Campaign):
    def check(content: bytes, folder: Path) -> None:
        check_file(content, folder)
        assert not (folder / "pwned").exists()

    campaign.run(st.sampled_from(ODD), check, inputs=len(ODD))


def test_a_path_that_is_no_file(campaign: Campaign):
    def check(name: str, folder: Path) -> None:
        (folder / "folder").mkdir()
        (folder / "a.yaml").write_text("SEED: 2")
        before = listing(folder)
        outcome = run("train", "--config-file", name, *REST, "--output-dir", "r", cwd=folder)
        judge(outcome)
        if refused(outcome):
            unchanged(before, folder)

    names = (
        "folder",
        "/dev/null",
        ".",
        "..",
        "/",
        "a.yaml/b",
        "a" * 4000,
        "nope.yaml",
        "~",
        "a.yml",
    )
    campaign.run(st.sampled_from(names), check, inputs=len(names))
