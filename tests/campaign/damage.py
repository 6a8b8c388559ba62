"""Damage a file as disks, editors, other versions and strangers do."""

import json
import math
import shutil
from pathlib import Path

import torch
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

HTML = b"<!DOCTYPE html><html><body>404 not found</body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
OTHER = (
    b"", b"\0" * 4096, b"[]", b"null", b"{}", b"3", b'"text"', b"[1, 2]", b'{"a": 1}',
    b"a: 1\n", b"- a\n", b"\xff\xfe\xfd", b"{", b"NaN", HTML, POINTER, b"PK\x03\x04",
    b"\x80\x04.", b"\x1f\x8b",
)  # fmt: skip
VALUES = (
    None, True, 0, -1, 2, 99, 1e308, math.nan, math.inf, "", "text", "\x1b[2J", "../../x", [], [1],
    ["a", "a"], {}, {"a": 1}, [[]], 10**30,
)  # fmt: skip


@st.composite
def damages(draw) -> tuple:
    """Draw a kind of damage and its place."""
    kinds = ("cut", "flip", "other", "key", "value", "folder", "gone", "future", "twice", "nan")
    kind = draw(st.sampled_from(kinds))
    where = draw(st.integers(0, 999)) / 1000
    what = draw(
        {"other": st.sampled_from(OTHER), "value": st.sampled_from(VALUES)}.get(
            kind, st.integers(0, 7)
        )
    )
    return kind, where, what


def apply(file: Path, damage: tuple) -> None:
    """Damage a file; what means nothing for its form flips a bit."""
    kind, where, what = damage
    content = file.read_bytes()
    at = int(where * len(content))
    if kind == "cut":
        file.write_bytes(content[:at])
    elif kind == "other":
        file.write_bytes(what)
    elif kind == "folder":
        file.unlink()
        file.mkdir()
    elif kind == "gone":
        file.unlink()
    elif kind == "twice":
        file.write_bytes(content[:at] + content)
    elif file.suffix in (".json", ".jsonl") and kind in ("key", "value", "future"):
        lines = [
            json.loads(line) for line in content.decode().splitlines() if file.suffix != ".json"
        ]
        tree = lines or json.loads(content)
        _change(tree, kind, where, what)
        texts = [json.dumps(one) for one in (tree if lines else [tree])]
        file.write_text("\n".join(texts) + "\n")
    elif file.suffix == ".safetensors" and kind in ("key", "value", "future", "nan"):
        _change_tensors(file, kind, where, what)
    elif content:
        at = min(at, len(content) - 1)
        bit = what if isinstance(what, int) and not isinstance(what, bool) else 3
        file.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit % 8]) + content[at + 1 :])


def _change(tree: object, kind: str, where: float, what: object) -> None:
    """Remove or replace one value of a tree of dicts and lists."""
    if kind == "future" and isinstance(tree, dict):
        tree["format"] = 99
        return
    places = []

    def collect(node: object) -> None:
        names = node.keys() if isinstance(node, dict) else range(len(node))
        for name in names:
            places.append((node, name))
            if isinstance(node[name], dict | list):
                collect(node[name])

    collect(tree)
    node, name = places[int(where * len(places))]
    if kind == "key":
        del node[name]
    else:
        node[name] = what


def _change_tensors(file: Path, kind: str, where: float, what: object) -> None:
    try:
        with safe_open(file, framework="pt") as opened:
            header = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError:
        return
    tree = json.loads(header.get("softprompt", "{}"))
    if kind == "nan" or not tree:
        name = sorted(tensors)[int(where * len(tensors))]
        values = (math.nan, math.inf, 1e38, None, "shape", "dtype", "extra", "gone")
        value = values[what % 8 if isinstance(what, int) else 0]
        if value == "shape":
            tensors[name] = tensors[name].flatten()[:3].clone()
        elif value == "dtype":
            tensors[name] = tensors[name].to(torch.int64)
        elif value == "extra":
            tensors["extra"] = torch.zeros(3)
        elif value in (None, "gone"):
            del tensors[name]
        elif tensors[name].is_floating_point():
            tensors[name] = torch.full(tensors[name].shape, value).to(tensors[name].dtype)
        else:
            tensors[name] = torch.zeros_like(tensors[name])
    else:
        _change(tree, kind, where, what)
        header["softprompt"] = json.dumps(tree)
    save_file(tensors, file, metadata=header)


def copy(source: Path, target: Path) -> Path:
    """Copy a folder to be damaged, modification times included."""
    return shutil.copytree(source, target)
