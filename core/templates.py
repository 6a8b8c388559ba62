"""Hand-written sentences around a class name: presets by name, and CLIP's ImageNet list."""

from softprompt.core.errors import UserError

PLAIN = "a photo of a {}."

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


def imagenet_templates(count: int = 80) -> tuple[str, ...]:
    """The first ``count`` of the 80 templates that CLIP's authors wrote for ImageNet."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES[:count])


def templates_of(dataset, preset: str) -> tuple[str, ...]:
    """Return the sentences that a preset means for a dataset.

    ``clip`` is "a photo of a {}." everywhere, ``select`` and ``imagenet`` are CLIP's ensembles of
    7 and 80; any other name is looked up in ``dataset.templates``, where papers that keep CoOp's
    sentence for a dataset have no entry of their own.
    """
    ensembles = {"clip": (PLAIN,), "select": SELECT}
    if preset in ensembles:
        return ensembles[preset]
    if preset == "imagenet":
        return imagenet_templates()
    if preset not in PRESETS:
        raise UserError(
            f"no templates named {preset!r}; there are clip, select, imagenet, {', '.join(PRESETS)}"
        )
    return (dataset.templates.get(preset) or dataset.templates.get("coop", PLAIN),)


PRESETS = ("coop", "kgcoop", "prograd")  # papers whose sentences differ by dataset
