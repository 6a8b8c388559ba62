"""Weights, batches and start values that a record of an official run was made with."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from softprompt.core.base.errors import UserError
from softprompt.core.clip.frozen import FrozenCLIP

FILE = "recipe.py"
GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"  # in a checkout only


@dataclass
class Recipe:
    """What a recipe module defines; the records hold no weights, a recipe draws them anew."""

    spec: dict[str, int]  # the sizes of CLIP, named as in OpenAI's code
    state_dict: Callable[[], dict[str, Tensor]]  # CLIP's weights under OpenAI's names
    # Training images (steps, batch, 3, size, size), labels (steps, batch) and test images.
    batches: Callable[[], tuple[Tensor, Tensor, Tensor]]
    # Start values of trained tensors from their shapes by name, a seed and a standard deviation.
    init: Callable[[dict[str, list[int]], int, float], dict[str, Tensor]]
    probe: Callable[[Tensor], list[float]]  # a tensor's norm, and its product with a fixed vector

    def in_double(self) -> "Recipe":
        """Return the same recipe with its numbers converted to float64."""

        def doubled(values: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: value.double() for name, value in values.items()}

        def batches() -> tuple[Tensor, Tensor, Tensor]:
            images, labels, test_images = self.batches()
            return images.double(), labels, test_images.double()

        return replace(
            self,
            batches=batches,
            state_dict=lambda: doubled(self.state_dict()),
            init=lambda *arguments: doubled(self.init(*arguments)),
        )

    def build_clip(self) -> FrozenCLIP:
        """Return the CLIP of these sizes and weights, as OpenAI's code would build it."""
        import open_clip  # seconds that who only reads records is spared
        from open_clip.model import CLIPTextCfg, CLIPVisionCfg

        spec = self.spec
        model = open_clip.CLIP(
            embed_dim=spec["embed_dim"],
            vision_cfg=CLIPVisionCfg(
                image_size=spec["image_resolution"],
                layers=spec["vision_layers"],
                width=spec["vision_width"],
                patch_size=spec["vision_patch_size"],
                head_width=64,
            ),
            text_cfg=CLIPTextCfg(
                context_length=spec["context_length"],
                vocab_size=spec["vocab_size"],
                width=spec["transformer_width"],
                heads=spec["transformer_heads"],
                layers=spec["transformer_layers"],
            ),
            quick_gelu=True,
        )
        model.load_state_dict(self.state_dict())
        tokenizer = open_clip.get_tokenizer("ViT-B-16")
        return FrozenCLIP(model, tokenizer, name="recipe", weights="recipe")


def load_recipe(file: Path) -> Recipe:
    """Run a recipe module, and return what it defines.

    Raises:
        UserError: the file is no Python module.
        OSError: it cannot be read.
        AttributeError: it does not define all parts of a recipe.
    """
    spec = importlib.util.spec_from_file_location("recipe", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Recipe(module.SPEC, module.state_dict, module.batches, module.init, module.probe)


def find_recipe(record: Path) -> Path:
    """Return the recipe beside a record if there is one, else that of the checkout's records."""
    beside = record.with_name(FILE)
    return beside if beside.is_file() else GOLDEN / FILE
