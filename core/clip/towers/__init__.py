"""CLIP's text and image towers, run with prompts put in; they know of no fast path.

May import: base, prompts.
"""
