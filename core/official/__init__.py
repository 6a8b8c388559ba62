"""The official code bases in our terms: their settings and their names of trained tensors."""

from softprompt.core.official.names import our_name
from softprompt.core.official.settings import Official, from_command_line

__all__ = ["Official", "from_command_line", "our_name"]
