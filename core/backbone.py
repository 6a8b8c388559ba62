"""From a backbone's name and weights to a ``FrozenCLIP``."""

import json
import zipfile
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn

from softprompt.core.clip import FrozenCLIP
from softprompt.core.errors import UserError, closest
from softprompt.core.seeding import seeded

# OpenAI's models use QuickGELU, which open_clip keeps under names of their own.
COOP_NAMES = {
    "ViT-B/16": "ViT-B-16-quickgelu",
    "ViT-B/32": "ViT-B-32-quickgelu",
    "ViT-L/14": "ViT-L-14-quickgelu",
    "ViT-L/14@336px": "ViT-L-14-336-quickgelu",
}
TINY = "tiny"  # the small CLIP that comes with the package
RANDOM = "random"


def build_clip(
    name: str, pretrained: str, precision: str = "fp32", device: str | torch.device = "cpu"
) -> FrozenCLIP:
    """Return a frozen CLIP.

    Args:
        name: CoOp's or open_clip's name of the architecture, or "tiny".
        pretrained: one of open_clip's tags, a weight file (OpenAI's archive, a state dict, a
            safetensors file or an open_clip checkpoint), or "" for random weights.

    Raises:
        UserError: no such architecture, or its weights are not to be had.
    """
    model, tokenizer = _tiny() if name == TINY else _architecture(_open_clip_name(name, pretrained))
    if not hasattr(model, "transformer") or not hasattr(model.visual, "transformer"):
        raise UserError(
            f"MODEL.BACKBONE.NAME {name!r}: prompts need towers that are open_clip's own "
            "transformers, as in the ViT models of OpenAI, LAION and DataComp"
        )
    if not pretrained:
        source = RANDOM
    elif name == TINY and pretrained == TINY:
        load_weights(model, str(files("softprompt.core") / "assets" / "tiny.safetensors"))
        source = TINY
    elif Path(pretrained).expanduser().is_file():
        load_weights(model, str(Path(pretrained).expanduser()))
        source = pretrained
    else:
        load_weights(model, _fetched(name, _open_clip_name(name, pretrained), pretrained))
        source = pretrained
    return FrozenCLIP(
        model, tokenizer, name=name, weights=source, precision=precision, device=device
    )


def _open_clip_name(name: str, pretrained: str) -> str:
    import open_clip

    quick = COOP_NAMES.get(name, f"{name}-quickgelu" if pretrained == "openai" else name)
    plain = name.replace("/", "-").replace("@336px", "-336")
    if quick in open_clip.list_models():
        tags = open_clip.list_pretrained_tags_by_model
        return plain if pretrained in tags(plain) and pretrained not in tags(quick) else quick
    return plain


def _architecture(name: str) -> tuple[nn.Module, object]:
    import open_clip

    known = open_clip.list_models()
    if name not in known:
        raise UserError(
            f"no backbone named {name!r}{closest(name, [*known, *COOP_NAMES, TINY])}; there are "
            f"{', '.join(COOP_NAMES)}, {TINY}, and open_clip's models (open_clip.list_models())"
        )
    with seeded(0, "random weights"):  # every run with random weights has the same ones
        model = open_clip.create_model(name, pretrained_text=False)
    return model, open_clip.get_tokenizer(name)


def _tiny() -> tuple[nn.Module, object]:
    import open_clip
    from open_clip.tokenizer import SimpleTokenizer

    config = json.loads((files("softprompt.core") / "assets" / "tiny.json").read_text())
    with seeded(0, "random weights"):
        model = open_clip.CLIP(**config)
    return model, SimpleTokenizer(context_length=model.context_length)


def load_weights(model: nn.Module, file: str) -> None:
    """Copy a weight file into a model of just this architecture.

    Raises:
        UserError: the file cannot be read, or its tensors are not the model's.
    """
    from open_clip.model import convert_to_custom_text_state_dict

    weights = read_weights(file)
    if "token_embedding.rows" in weights:
        weights = _with_all_rows(weights, model.vocab_size)
    if hasattr(model, "text"):
        weights = convert_to_custom_text_state_dict(weights)
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = [name for name in sorted(own.keys() | given.keys()) if own.get(name) != given.get(name)]
    if wrong:
        first = wrong[0]
        raise UserError(
            f"the weights in {file} are of another architecture: {first} is "
            f"{given.get(first, 'missing')} there and {own.get(first, 'missing')} here "
            f"({len(wrong)} tensors differ); MODEL.BACKBONE.NAME must name theirs"
        )
    model.load_state_dict(weights)


def read_weights(file: str) -> dict[str, Tensor]:
    """Return the tensors of a weight file by name, in fp32; no pickled code is run."""
    try:
        if file.endswith(".safetensors"):
            from safetensors.torch import load_file

            weights = load_file(file)
        elif _is_torchscript(file):  # how OpenAI ships its models
            weights = torch.jit.load(file, map_location="cpu").state_dict()
        else:
            weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle, safetensors and torch raise what they like
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file} cannot be read as weights: {reason}") from error
    weights = weights.get("state_dict", weights)
    return {
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in weights.items()
        if name not in ("input_resolution", "context_length", "vocab_size")
    }


def _is_torchscript(file: str) -> bool:
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _with_all_rows(weights: dict[str, Tensor], vocabulary: int) -> dict[str, Tensor]:
    """Fill the token rows that a slimmed file leaves out, with noise of the others' size."""
    rows = weights.pop("token_embedding.rows").long()
    trained = weights.pop("token_embedding.trained")
    with seeded(0, "token rows"):
        table = torch.randn(vocabulary, trained.shape[1]) * trained.std()
    table[rows] = trained
    return {**weights, "token_embedding.weight": table}


def untrained_words(clip: FrozenCLIP, classnames) -> list[str]:
    """Return the class names made of tokens that the backbone has never been trained on."""
    if clip.weights != TINY:
        return []
    from safetensors import safe_open

    with safe_open(files("softprompt.core") / "assets" / "tiny.safetensors", "pt") as opened:
        trained = set(opened.get_tensor("token_embedding.rows").tolist())
    encode = clip.text.tokenizer.encode
    return [name for name in classnames if not set(encode(name.replace("_", " "))) <= trained]


def _fetched(name: str, open_clip_name: str, tag: str) -> str:
    """Return the file of open_clip's weights ``tag``, fetched if it is not there yet."""
    from open_clip import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

    source = get_pretrained_cfg(open_clip_name, tag)
    if not source:
        tags = list_pretrained_tags_by_model(open_clip_name)
        raise UserError(
            f"MODEL.BACKBONE.PRETRAINED {tag!r} is neither a file nor one of open_clip's weights "
            f"for {name}{closest(tag, tags)}: {', '.join(tags) or 'none'}"
        )
    try:
        return download_pretrained(source)
    except Exception as error:  # whatever the network and the hub raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        cache = Path("~/.cache").expanduser()
        raise UserError(
            f"the weights {tag!r} of {name} are not here (looked in {cache}/clip and "
            f"{cache}/huggingface) and could not be fetched ({reason[:160]}); where there is a "
            f"network, `python -c \"import open_clip; open_clip.create_model('{open_clip_name}', "
            f"pretrained='{tag}')\"` gets them; or give a file as MODEL.BACKBONE.PRETRAINED"
        ) from None
