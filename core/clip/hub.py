"""What open_clip knows of pretrained weights, and fetching them."""

from pathlib import Path

from softprompt.core.base.errors import UserError, closest, reason

# CoOp's names, which are OpenAI's, and open_clip's for the same architectures.
COOP_NAMES = {
    "RN50": "RN50",
    "RN101": "RN101",
    "RN50x4": "RN50x4",
    "RN50x16": "RN50x16",
    "RN50x64": "RN50x64",
    "ViT-B/32": "ViT-B-32",
    "ViT-B/16": "ViT-B-16",
    "ViT-L/14": "ViT-L-14",
    "ViT-L/14@336px": "ViT-L-14-336",
}
QUICK = "-quickgelu"  # open_clip's ending for OpenAI's activation


def open_clip_name(name: str) -> str:
    """open_clip's name of a backbone."""
    return COOP_NAMES.get(name, name.replace("/", "-"))


def entries_of(plain: str) -> list[dict]:
    """What open_clip knows of each of an architecture's pretrained weights."""
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model

    return [get_pretrained_cfg(plain, tag) for tag in list_pretrained_tags_by_model(plain)]


def entry_of(name: str, tag: str) -> dict:
    """What open_clip knows of the weights ``tag`` of a backbone.

    Raises:
        UserError: it has no such weights.
    """
    from open_clip import get_pretrained_cfg, list_models, list_pretrained_tags_by_model

    plain = open_clip_name(name)
    names = (plain, plain + QUICK)  # some weights are listed under one of the two alone
    found = next((entry for each in names if (entry := get_pretrained_cfg(each, tag))), None)
    if found is None and plain in list_models():
        tags = sorted({tag for each in names for tag in list_pretrained_tags_by_model(each)})
        raise UserError(
            f"MODEL.BACKBONE.PRETRAINED {tag!r} is neither a file nor one of open_clip's weights "
            f"for {name}{closest(tag, tags)}: {', '.join(tags) or 'none'}"
        )
    return found or {}


def fetched(name: str, tag: str, entry: dict) -> str:
    """Return the file of open_clip's weights, fetched if it is not there yet."""
    from open_clip import download_pretrained

    try:
        return download_pretrained(entry)
    except Exception as error:  # whatever the network and the hub raise
        cache = Path("~/.cache").expanduser()
        raise UserError(
            f"the weights {tag!r} of {name} are not here (looked in {cache}/clip and "
            f"{cache}/huggingface) and could not be fetched ({reason(error)}); where there is a "
            f'network, `python -c "import open_clip; open_clip.create_model('
            f"'{open_clip_name(name)}', pretrained='{tag}')\"` gets them; or give a file as "
            "MODEL.BACKBONE.PRETRAINED"
        ) from None
