"""Show the clusters on an HTML page of one file: names, counts, pictures and captions."""

import base64
from io import BytesIO
from pathlib import Path

from softprompt.core.base.errors import UserError
from softprompt.core.base.escape import as_html
from softprompt.core.base.files import write_atomically, writing_to
from softprompt.core.meta.clusters.features import PairFeatures
from softprompt.core.meta.clusters.hierarchy import Hierarchy, NamedClass, Topic
from softprompt.core.meta.clusters.names import phrases
from softprompt.core.meta.pairs.base import Pairs

TOPICS = 20  # shown at most, evenly spread over all
PICTURES = 6  # shown of a class in a domain
CAPTIONS = 3  # shown of a class
SIDE = 72  # of a picture, pixels

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: #1c1c1c; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem }
p { max-width: 60rem } .note { color: #555; font-size: .9rem }
.wide { overflow-x: auto } table { border-collapse: collapse }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem .4rem 0;
  border-top: 1px solid #ddd }
th { font-weight: 600; white-space: nowrap } .name { min-width: 11rem; max-width: 17rem }
.name b { font-size: 1.05rem } .cell { min-width: 228px }
img { width: 72px; height: 72px; object-fit: cover; margin: 0 3px 3px 0; border-radius: 3px }
.held { background: #ffe9b8; border-radius: 3px; padding: .1rem .4rem; font-size: .85rem;
  font-weight: 600 }
"""


def write_page(
    hierarchy: Hierarchy, pairs: Pairs, features: PairFeatures, file: Path, note: str
) -> None:
    """Write the page with a note in its head; pictures that are no longer readable are left out."""
    step = max(1, -(-len(hierarchy.topics) // TOPICS))
    shown = range(0, len(hierarchy.topics), step)
    body = [_head(hierarchy, len(shown), note)]
    for index in shown:
        body.append(_topic(index, hierarchy.topics[index], hierarchy, pairs, features.captions))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Clusters of {as_html(hierarchy.source)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>"
    )
    with writing_to(file):
        write_atomically(file, page)


def _head(hierarchy: Hierarchy, shown: int, note: str) -> str:
    classes = [cls for topic in hierarchy.topics for cls in topic.classes]
    used = sum(len(cls.pairs) for cls in classes)
    left_out = {
        **hierarchy.dropped,
        "in no class, not clearly in one, or in a class too small": hierarchy.total
        - sum(hierarchy.dropped.values())
        - used,
    }
    rows = "".join(
        f"<tr><td>{count}</td><td>{as_html(why)}</td></tr>"
        for why, count in left_out.items()
        if count
    )
    some = (
        f" {shown} of the {len(hierarchy.topics)} topics are shown."
        if shown < len(hierarchy.topics)
        else ""
    )
    return (
        f"<h1>Clusters of {as_html(hierarchy.source)}</h1>"
        f"<p>{hierarchy.total} captioned pictures; {used} of them are in {len(classes)} classes of "
        f"{len(hierarchy.topics)} topics. Sizes: {as_html(str(hierarchy.sizes))}.{some}</p>"
        "<p>A topic holds classes that are easily confused, a class is named by a phrase of its "
        "captions, and a visual domain (a column, the same one in all topics) is a way that "
        "pictures look, whatever they show. No label was used: names and groups can be wrong. The "
        "pictures are those that belong to their class most clearly, so the others are worse; "
        "point at one for its caption.</p>"
        f"<p>{as_html(note)}</p>"
        f'<table><tr><th colspan="2">pairs left out</th></tr>{rows}</table>'
    )


def _topic(
    index: int, topic: Topic, hierarchy: Hierarchy, pairs: Pairs, captions: list[str]
) -> str:
    count = sum(len(cls.pairs) for cls in topic.classes)
    held = ' <span class="held">held out for meta-validation</span>' if topic.held_out else ""
    task = (
        ""
        if topic.has_task(hierarchy.sizes)
        else (
            '<p class="note">Too few classes share two domains for a task within this topic; its '
            "classes serve in tasks over several topics and as other classes.</p>"
        )
    )
    head = "".join(f"<th>domain {d + 1}</th>" for d in range(hierarchy.sizes.domains))
    rows = "".join(_class(cls, pairs, captions) for cls in topic.classes)
    return (
        f"<h2>Topic {index + 1}: {len(topic.classes)} classes, {count} pictures{held}</h2>{task}"
        f'<div class="wide"><table><tr><th>class</th>{head}</tr>{rows}</table></div>'
    )


def _class(cls: NamedClass, pairs: Pairs, captions: list[str]) -> str:
    own = [captions[pair] for pair in cls.pairs]
    named = sum(cls.name in phrases(caption) or cls.name in caption for caption in own)
    examples = list(dict.fromkeys(captions[d[0]] for d in cls.domains if d))[:CAPTIONS]
    quoted = "".join(f"<br>“{as_html(caption)}”" for caption in examples)
    cells = "".join(
        f'<td class="cell">{len(domain)}<br>'
        + "".join(_picture(pairs, pair, captions[pair]) for pair in domain[:PICTURES])
        + "</td>"
        for domain in cls.domains
    )
    return (
        f'<tr><td class="name"><b>{as_html(cls.name)}</b> <span class="note"><br>in '
        f"{named / len(own):.0%} of {len(own)} captions{quoted}</span></td>{cells}</tr>"
    )


def _picture(pairs: Pairs, index: int, caption: str) -> str:
    try:
        image = pairs.image(index)
    except UserError:
        return ""
    image.thumbnail((2 * SIDE, 2 * SIDE))
    image.save(stored := BytesIO(), "JPEG", quality=80)
    data = base64.b64encode(stored.getvalue()).decode()
    text = as_html(caption)
    return f'<img src="data:image/jpeg;base64,{data}" title="{text}" alt="{text}">'
