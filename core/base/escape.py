"""Text of others (class names, captions, paths, messages) made safe for each kind of output.

Whatever could steer a terminal, forge a line or turn the reading order around is shown by its
code, such as ``\\u001b``, which JSON reads back. To that, each format adds its own special
characters.
"""

import html
import re
from unicodedata import category

JOINERS = "\u200c\u200d"  # invisible, but scripts and emoji are spelt with them
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, surrogate, line and paragraph separator
SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
FORMULA = tuple("=+-@＝＋－＠")  # a spreadsheet computes a cell that begins so
MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{c: f"\\{c}" for c in r"\`*[]|~$#"}}
)
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        **{c: f"\\{c}" for c in "&%$#_{}"},
        **{c: f"{{{c}}}" for c in "[]*"},  # after the \\ of a row they would be its arguments
    }
)


def one_line(text: str) -> str:
    """Return text that prints as it reads, on one line."""
    if text.isprintable():
        return text
    return "".join(_code(c) if category(c) in HIDDEN and c not in JOINERS else c for c in text)


def in_lines(text: str) -> str:
    """Return text that prints as it reads, on the lines and in the columns that it has."""
    return "".join(part if part in ("\n", "\t") else one_line(part) for part in _parts(text))


def as_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, in a cell of a table, too."""
    escaped = one_line(text).translate(MARKDOWN)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", escaped)  # within a word it means nothing


def as_markdown_code(text: str) -> str:
    """Return text as a code span of Markdown, in a cell of a table, too."""
    text = one_line(text).replace("|", r"\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " * (len(fence) > 1)
    return f"{fence}{space}{text}{space}{fence}"


def as_latex(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    return one_line(text).translate(LATEX)


def as_csv_cell(text: str) -> str:
    """Return text that a spreadsheet shows and does not compute; quotes are for the csv module."""
    text = one_line(text)
    return f"'{text}" if text.startswith(FORMULA) else text


def as_html(text: str) -> str:
    """Return text that HTML shows as it is, in an attribute, too."""
    return html.escape(one_line(text))


def _parts(text: str) -> list[str]:
    """Return a text's line ends and tabs, and what is between them."""
    return re.split("([\n\t])", text)


def _code(character: str) -> str:
    """Return a character as JSON escapes it."""
    if character in SHORT:
        return SHORT[character]
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = (units[i : i + 2] for i in range(0, len(units), 2))
    return "".join(f"\\u{int.from_bytes(pair):04x}" for pair in pairs)
