"""The page: what a browser is given, read without one."""

import base64
import csv
import gzip
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from softprompt.core.base.errors import UserError
from softprompt.core.protocols.report.build import build_report
from softprompt.core.protocols.report.names import method_labels
from softprompt.core.protocols.report.page import as_html
from softprompt.core.protocols.report.plots import look
from softprompt.core.protocols.runs import find_runs

VOID = {"meta", "input", "br", "link", "img"}
OUTSIDE = {"src", "href", "xlink:href", "action", "data"}


class Page(HTMLParser):
    """Its elements in order, those that are open at its end, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.words += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text(kept_protocol_runs) -> str:
    return page_of(kept_protocol_runs)


def page_of(out: Path) -> str:
    return as_html(build_report(find_runs([str(out)])))


def test_every_element_is_closed(text):
    assert Page(text).open == []


def test_nothing_is_fetched(text):
    page = Page(text)
    for _, attributes in page.elements:
        for name in OUTSIDE & attributes.keys():
            assert attributes[name].startswith(("#", "data:")), attributes
    assert "@import" not in text and "fetch(" not in text
    assert not re.findall(r"url\((?!#)", text)
    assert len(text.encode()) < 2_000_000


def test_every_anchor_has_its_place_and_no_id_is_there_twice(text):
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [it["href"][1:] for it in page.all("a") if it["href"].startswith("#")]
    assert len(links) >= 3 and set(links) <= set(ids)
    used = {it["xlink:href"][1:] for it in page.all("use")} | set(re.findall(r"url\(#(\w+)", text))
    assert used <= set(ids)


def test_every_table_can_be_sorted_by_every_column(text):
    page = Page(text)
    tables = len(page.all("table"))
    assert tables >= 6
    assert len(page.all("button")) == len([it for it in page.all("th") if it["scope"] == "col"])
    cells = [it for it in page.all("td") if it.get("class") != "none"]
    assert cells and all("data-value" in it for it in cells)


def test_a_published_number_has_its_source(text):
    spans = [it for it in Page(text).all("span") if it.get("class", "").startswith("published")]
    titles = [it["title"] for it in spans if "title" in it]
    assert any(title.startswith("CoOp, cited:") for title in titles)
    assert any("outside" in it["class"] for it in spans)


def test_plots_take_the_colour_of_the_page(text):
    plots = re.findall(r"<svg.*?</svg>", text, re.S)
    assert len(plots) >= 3 + 1
    for plot in plots:
        assert "currentColor" in plot and "#010203" not in plot and "<metadata" not in plot
    assert "prefers-color-scheme: dark" in text and "@media print" in text


def test_no_two_methods_look_the_same():
    looks = {look(index) for index in range(30)}
    assert len(looks) == 30


def test_all_numbers_are_in_the_page(text):
    (link,) = [it for it in Page(text).all("a") if "download" in it]
    packed = base64.b64decode(link["href"].split("base64,")[1])
    lines = list(csv.DictReader(io.StringIO(gzip.decompress(packed).decode())))
    assert {"base2new", "few_shot", "overview", "significance", "cost"} == {
        line["kind"] for line in lines
    }


def test_the_same_runs_make_the_same_page(kept_protocol_runs, text):
    assert page_of(kept_protocol_runs) == text


def test_what_is_missing_is_said_on_top(protocol_runs):
    next(protocol_runs.glob("base2new/maple/*/dtd/*/seed_2/results.json")).unlink()
    page = page_of(protocol_runs / "base2new")
    top = Page(page[: page.index("<main>")]).words
    assert "Incomplete (2 remarks)" in top
    assert "INCOMPLETE: maple has 2 of 2 datasets, with runs missing" in top
    assert "INCOMPLETE: maple: dtd, 16 shots, seed 2: no run" in top


def test_names_are_escaped(protocol_runs):
    (protocol_runs / "base2new/coop").rename(protocol_runs / "base2new/<b>&")
    page = page_of(protocol_runs / "base2new")
    assert "<b>&" not in page and "&lt;b&gt;&amp;" in page
    assert Page(page).open == []


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_what_a_page_needs_is_named_if_it_is_missing(missing, kept_protocol_runs, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=rf'need.*{missing}: pip install "softprompt\[report\]"'):
        page_of(kept_protocol_runs / "base2new")


def test_labels_leave_out_what_methods_share():
    assert method_labels(["coop/tiny,A=1", "maple/tiny,A=1"]) == (
        {"coop/tiny,A=1": "coop", "maple/tiny,A=1": "maple"},
        ["All methods: configs/*/tiny.yaml with A 1"],
    )
    same, shared = method_labels(["prometar/tiny", "prometar/tiny_paper"])
    assert list(same.values()) == ["prometar/tiny", "prometar/tiny_paper"] and shared == []
    assert list(method_labels(["coop/tiny", "coop/tiny,A=1"])[0]) == ["coop/tiny", "coop/tiny,A=1"]
    assert method_labels(["coop/tiny,A=1,B=2", "coop/tiny,A=1,B=3"]) == (
        {"coop/tiny,A=1,B=2": "coop/tiny,B=2", "coop/tiny,A=1,B=3": "coop/tiny,B=3"},
        ["All methods: A 1"],
    )
    assert method_labels(["coop/tiny,A=1"]) == (
        {"coop/tiny,A=1": "coop/tiny"},
        ["All methods: A 1"],
    )


def test_labels_of_many_settings_are_numbered():
    long = "coop/tiny,OPTIM.LR=1,DATALOADER.TRAIN_X.BATCH_SIZE=8,OPTIM.MAX_EPOCH=100"
    labels, lines = method_labels([long, "coop/tiny"])
    assert labels[long] == "coop/tiny #1"
    assert lines == [f"coop/tiny #1: {long[10:].replace(',', ' ').replace('=', ' ')}"]
