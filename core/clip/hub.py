"""Find pretrained weights in open_clip's tables, and fetch them."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from softprompt.core.base.errors import UserError, closest, reason

# open_clip's names by CoOp's, which are OpenAI's.
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
TIMEOUT = 5  # seconds to wait for a sign of the hub's server
QUICK = "-quickgelu"  # open_clip's suffix for OpenAI's activation


def open_clip_name(name: str) -> str:
    """Return open_clip's name of a backbone."""
    return COOP_NAMES.get(name, name.replace("/", "-"))


def entries_of(own_name: str) -> list[dict]:
    """Return open_clip's entry of each of an architecture's pretrained weights."""
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model

    return [get_pretrained_cfg(own_name, tag) for tag in list_pretrained_tags_by_model(own_name)]


def entry_of(name: str, tag: str) -> dict:
    """Return open_clip's entry of the weights ``tag`` of a backbone, {} for an unknown backbone.

    Raises:
        UserError: open_clip has no such weights.
    """
    from open_clip import get_pretrained_cfg, list_models, list_pretrained_tags_by_model

    own_name = open_clip_name(name)
    names = (own_name, own_name + QUICK)  # some weights are listed under one of the two alone
    found = next((entry for each in names if (entry := get_pretrained_cfg(each, tag))), None)
    if found is None and own_name in list_models():
        tags = sorted({tag for each in names for tag in list_pretrained_tags_by_model(each)})
        raise UserError(
            f"MODEL.BACKBONE.PRETRAINED {tag!r} is neither a file nor one of open_clip's weights "
            f"for {name}{closest(tag, tags)}: {', '.join(tags) or 'none'}"
        )
    return found or {}


@contextmanager
def without_retries_offline() -> Iterator[None]:
    """Let the hub's client look into its cache alone while its server cannot be reached.

    Its own attempts to reach the server take almost a minute, even for what is cached.
    """
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline


def _reachable(address: str) -> bool:
    """Return whether a server answers at all; what it answers does not matter."""
    request = urllib.request.Request(address, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the client may know other certificates
    except OSError:  # it timed out, or hung up
        return False
    return True


def fetched(name: str, tag: str, entry: dict) -> str:
    """Return the file of open_clip's weights, fetched if it is not cached yet."""
    from open_clip import download_pretrained

    try:
        with without_retries_offline():
            return download_pretrained(entry)
    except Exception as error:  # anything that the network and the hub raise
        cache = Path("~/.cache").expanduser()
        raise UserError(
            f"the weights {tag!r} of {name} are not here (looked in {cache}/clip and "
            f"{cache}/huggingface) and could not be fetched ({reason(error)}); where there is a "
            f'network, `python -c "import open_clip; open_clip.create_model('
            f"'{open_clip_name(name)}', pretrained='{tag}')\"` gets them; or give a file as "
            "MODEL.BACKBONE.PRETRAINED"
        ) from None
