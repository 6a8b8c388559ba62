"""Class names of any characters: trained, reported in every format, harmless everywhere."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from forked import run
from hypothesis import strategies as st
from inputs import NASTY, Campaign
from oracle import is_harmless, judge, listing, refused, sound_run, unchanged
from PIL import Image
from test_pictures import FOLDER

KIND = "class names"
FORMATS = ("text", "markdown", "latex", "csv", "html")
NAMES = (
    *NASTY, "n01440764", "001.Black_footed_Albatross", "42", "dog", "Dog", "dog ", "do_g", "do-g",
    "café", "cafe\u0301", "سيارة", "כלב", "=1+1", "+1", "-1", "@x", "=HYPERLINK(1)", "50%", "a_b",
    "a^b", "{x}", "#1", "~", "$x$", "\\input{x}", "<script>alert(1)</script>", "&amp;", "a,b",
    'a"b', "a|b|c", "*a*", "`a`", "[a](b)", "name\u200b", "\u202eabc", "x" * 200, "犬 " * 40,
    "👩‍👩‍👧", ".hidden", "train", "test", "a photo of a {}", "%d", "CON", "a;b", "'", "aux.png",
)  # fmt: skip


def usable(name: str) -> bool:
    """Return whether a file system takes the name of a folder."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return False
    return bool(encoded) and len(encoded) < 250 and "/" not in name and "\0" not in name


names = (st.sampled_from(NAMES) | st.text(min_size=1, max_size=20)).filter(usable)


class Tags(HTMLParser):
    """Collects the names of all tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)


def check_report(form: str, text: str, given: list[str]) -> None:
    assert is_harmless(text), f"the {form} report holds control characters"
    if form == "csv":
        for row in csv.reader(io.StringIO(text)):
            for cell in row:
                assert not re.match(r"[=+@\t\r]|-(?![\d.])", cell), f"a formula in CSV: {cell!r}"
    if form == "html":
        parser = Tags()
        parser.feed(text)
        assert not parser.tags & {"x", "b:", "img"} and "alert(1)</script>" not in text


@st.composite
def class_names(draw) -> list[str]:
    return draw(st.lists(names, min_size=2, max_size=5, unique=True))


def test_any_class_names(campaign: Campaign):
    def check(case: tuple[list[str], str], folder: Path) -> None:
        given, form = case
        for index, name in enumerate(given):
            place = folder / "pictures" / name
            if place.exists():
                continue
            place.mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (30, 30), (60 * index, 200, 30)).save(place / f"{i}.png")
        before = listing(folder)
        words = [word for word in FOLDER if word != "run"]
        out = "few_shot/folder/tiny/coop/shots_2/seed_1"
        outcome = run("train", *words, out, cwd=folder)
        judge(outcome)
        assert not (folder / "pwned").exists()
        if refused(outcome):
            unchanged(before, folder)
            return
        results = sound_run(folder / out)
        assert is_harmless((folder / out / "log.txt").read_text())
        classes = results["results"]["coop under erm"]["all"]["per_class"]
        assert len(classes) <= len(given), "more classes than folders"
        some = next((folder / "pictures").rglob("*.png"))
        outcome = run("predict", out, str(some), "--json", cwd=folder)
        judge(outcome)
        assert len(json.loads(outcome.out)[0]["classes"]) == min(5, len(classes))
        judge(run("predict", out, str(some), cwd=folder))
        outcome = run("report", "few_shot", "--format", form, "--output", "report", cwd=folder)
        judge(outcome, (0,))
        check_report(form, (folder / "report").read_text(), given)

    campaign.run(st.tuples(class_names(), st.sampled_from(FORMATS)), check, inputs=120)


def test_any_names_on_the_command_line(campaign: Campaign, finished_run):
    """``predict --classes``: zero-shot names of one's own."""

    def check(given: list[str], folder: Path) -> None:
        Image.new("RGB", (30, 30), (60, 200, 30)).save(folder / "a.png")
        words = [name for name in given if not name.startswith("-")] or ["dog", "cat"]
        outcome = run(
            *("predict", str(finished_run), "a.png", "--json", "--classes"), *words, cwd=folder
        )
        judge(outcome)
        if outcome.code == 0:
            assert "NaN" not in outcome.out

    campaign.run(class_names(), check, inputs=60)
