"""Generated pictures: object shapes and textures in several domains, and captioned ones for pretraining.

Nothing is downloaded or stored: `draw` gives the same bytes for the same arguments on every platform.
"""

from .looks import LOOKS
from .outlines import EXTRA, SHAPES
from .raster import SIZE
from .weaves import WEAVES

FAMILIES: dict[str, tuple[str, ...]] = {"shapes": tuple(SHAPES), "patterns": tuple(WEAVES), "extra": tuple(EXTRA)}
EVALUATED_DOMAINS: tuple[str, ...] = ("plain", "v2", "sketch", "rendition", "cluttered")
DOMAINS: tuple[str, ...] = tuple(LOOKS)

from .scene import draw  # noqa: E402

__all__ = ["DOMAINS", "EVALUATED_DOMAINS", "FAMILIES", "SIZE", "draw"]
