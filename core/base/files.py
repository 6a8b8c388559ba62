"""Files: where the package keeps its own."""

from pathlib import Path

# Everything that is neither code nor configuration: the small CLIP, splits, published numbers.
ASSETS = Path(__file__).resolve().parents[1] / "assets"
CONFIGS = ASSETS.parents[1] / "configs"  # the shipped configurations, beside core
GIGABYTE = 2**30  # bytes
