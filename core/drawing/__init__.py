"""Generated pictures: objects and textures in several domains, and captioned ones for pretraining.

Nothing is downloaded or stored: `draw` gives the same bytes for the same arguments everywhere.
"""

from .looks import LOOKS
from .raster import SIZE
from .scene import FAMILIES, draw

# the evaluated domains come first; the others are for captions
DOMAINS: tuple[str, ...] = tuple(LOOKS)
EVALUATED_DOMAINS: tuple[str, ...] = ("plain", "v2", "sketch", "rendition", "cluttered")

__all__ = ["DOMAINS", "EVALUATED_DOMAINS", "FAMILIES", "SIZE", "draw"]
