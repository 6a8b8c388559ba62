"""The module that a record's weights and batches come from, and the CLIP that it describes."""

import importlib.util
from pathlib import Path

RECIPE = Path(__file__).resolve().parents[1] / "tests" / "golden" / "recipe.py"


def load_recipe(file: Path):
    spec = importlib.util.spec_from_file_location("recipe", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_clip(recipe):
    """The recipe's CLIP as OpenAI's code would build it."""
    import open_clip

    from softprompt.core.clip.frozen import FrozenCLIP

    spec = recipe.SPEC
    model = open_clip.CLIP(
        embed_dim=spec["embed_dim"],
        vision_cfg={
            "image_size": spec["image_resolution"],
            "layers": spec["vision_layers"],
            "width": spec["vision_width"],
            "patch_size": spec["vision_patch_size"],
            "head_width": 64,
        },
        text_cfg={
            "context_length": spec["context_length"],
            "vocab_size": spec["vocab_size"],
            "width": spec["transformer_width"],
            "heads": spec["transformer_heads"],
            "layers": spec["transformer_layers"],
        },
        quick_gelu=True,
    )
    model.load_state_dict(recipe.state_dict())
    return FrozenCLIP(model, open_clip.get_tokenizer("ViT-B-16"), name="recipe", weights="recipe")
