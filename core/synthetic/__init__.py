"""Generated pictures: objects and textures in several domains, and captioned ones for pretraining.

Nothing is downloaded or stored: ``draw`` returns the same bytes for the same arguments everywhere.
May import: base.
"""

from softprompt.core.synthetic.looks import LOOKS
from softprompt.core.synthetic.raster import SIZE
from softprompt.core.synthetic.scene import FAMILIES, draw

# the evaluated domains come first; the others are for captions
DOMAINS: tuple[str, ...] = tuple(LOOKS)
EVALUATED_DOMAINS: tuple[str, ...] = ("plain", "v2", "sketch", "rendition", "cluttered")

__all__ = ["DOMAINS", "EVALUATED_DOMAINS", "FAMILIES", "SIZE", "draw"]
