"""Print the README's table of backbones, read off the models themselves; no weights are loaded."""

import argparse
import sys

import _checkout  # noqa: F401

NAMES = (
    "RN50 RN101 RN50x4 RN50x16 RN50x64 ViT-B/32 ViT-B/16 ViT-L/14 ViT-L/14@336px "
    "ViT-B-16-plus-240 ViT-H-14 ViT-g-14 ViT-bigG-14 ViT-L-14-CLIPA ViT-H-14-CLIPA "
    "ViT-H-14-worldwide convnext_base_w convnext_large_d_320 convnext_xxlarge "
    "ViT-B-16-SigLIP ViT-L-16-SigLIP-256 ViT-SO400M-14-SigLIP ViT-SO400M-14-SigLIP-384 "
    "ViT-B-32-SigLIP2-256 ViT-B-16-SigLIP2 ViT-L-16-SigLIP2-256 ViT-SO400M-16-SigLIP2-384 "
    "MobileCLIP-S1 MobileCLIP-S2 MobileCLIP-B MobileCLIP2-S0 MobileCLIP2-S4 MobileCLIP2-B "
    "MobileCLIP2-L-14 EVA01-g-14 EVA02-B-16 EVA02-L-14 EVA02-L-14-336 EVA02-E-14 "
    "PE-Core-T-16-384 PE-Core-S-16-384 PE-Core-B-16 PE-Core-L-14-336 PE-Core-bigG-14-448 "
    "ViTamin-S ViTamin-B ViTamin-L coca_ViT-B-32 coca_ViT-L-14 roberta-ViT-B-32 "
    "xlm-roberta-base-ViT-B-32"
).split()
HEADERS = (
    "backbone",
    "image prompts",
    "text prompts",
    "text length",
    "image size",
    "context length",
    "tokenizer",
)


def row(name: str) -> tuple[str, ...]:
    """One backbone's line of the table."""
    import torch
    from open_clip import get_model_config

    from softprompt.core.base.errors import UserError
    from softprompt.core.clip.build import bare_model
    from softprompt.core.clip.hub import open_clip_name
    from softprompt.core.clip.towers.pick import image_tower, text_tower

    try:
        with torch.device("meta"):  # shapes without numbers
            model = bare_model(name, device="meta")
    except UserError:
        return (name, "no", "no", *["-"] * (len(HEADERS) - 3))
    image, text = image_tower(model.visual), text_tower(model, None)
    size = model.visual.image_size
    hub = get_model_config(open_clip_name(name))["text_cfg"].get("hf_tokenizer_name")
    return (
        name,
        f"yes, {image.depth} blocks" if image.depth else "no",
        f"yes, {text.depth} blocks",
        "full" if text.mask is None else "cut, exact",
        str(size[0] if isinstance(size, tuple | list) else size),
        str(text.context_length),
        "Hugging Face" if hub else "open_clip",
    )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME", help="default: all")
    names = parser.parse_args(arguments).names
    from tabulate import tabulate

    print(tabulate([row(name) for name in names], HEADERS, tablefmt="github"))


if __name__ == "__main__":
    main(sys.argv[1:])
