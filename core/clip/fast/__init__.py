"""Every exact shortcut of the computation, each with a slow counterpart in the tests.

May import: base, prompts, and the rest of clip.
"""
