"""Prompt learning for CLIP-like models: learners, trainers and datasets that combine freely.

``softprompt.core`` holds what a plugin imports. In a checkout the folders of the code stand at the
top level and are linked here, so that editors, type checkers and Python find them alike.
"""

from pathlib import Path

__version__ = "0.2.0"

_here = Path(__file__).resolve().parent
if not (_here / "core").is_dir():  # a checkout on a file system without symbolic links
    __path__.append(str(_here.parent))
