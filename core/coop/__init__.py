"""Import settings and trained prompts of the official code bases of CoOp's family.

May import: base, config, prompts, clip, data, engine.
"""

from softprompt.core.coop.names import our_name
from softprompt.core.coop.settings import Official, from_command_line

__all__ = ["Official", "from_command_line", "our_name"]
