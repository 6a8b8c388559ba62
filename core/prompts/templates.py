"""Hand-written sentences around a class name: presets by name, and CLIP's ImageNet list."""

from softprompt.core.base.errors import UserError, closest
from softprompt.core.base.registry import normalized

PHOTO = "a photo of a {}."

# The seven that CLIP's authors found best together on ImageNet; CoOp's ZeroshotCLIP2 uses them.
SELECT = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)

BY_DATASET = ("coop", "kgcoop", "prograd")  # papers that write a sentence for each dataset
PRESETS = ("clip", "select", "imagenet", *BY_DATASET)


def imagenet_templates(count: int = 80) -> tuple[str, ...]:
    """Return the first ``count`` of the 80 templates that CLIP's authors wrote for ImageNet."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES[:count])


def templates_of(dataset: object, preset: str) -> tuple[str, ...]:
    """Return a preset's sentences for a dataset, or the sentence that is given instead of one.

    ``coop``, ``kgcoop`` and ``prograd`` are looked up in ``dataset.templates``, if it has any; a
    paper that keeps CoOp's sentence for a dataset has no entry there. ``clip`` is "a photo of a
    {}." for every dataset. ``imagenet`` is CLIP's ensemble of 80, ``select`` that of 7, to
    which CoOp adds its sentence for the dataset, except for ImageNet.
    """
    if "{}" in preset:
        return (preset,)
    name = normalized(preset)
    if name not in PRESETS:
        raise UserError(
            f"no templates named {preset!r}{closest(name, PRESETS)}; there are "
            f"{', '.join(PRESETS)}, or give a sentence with {{}} for the class name"
        )
    own = getattr(dataset, "templates", {})
    if name in own:
        return (own[name],) if isinstance(own[name], str) else own[name]
    if name == "imagenet":
        return imagenet_templates()
    if name == "select":
        return (*SELECT, own["coop"]) if "coop" in own else SELECT
    return (PHOTO if name == "clip" else own.get("coop", PHOTO),)
