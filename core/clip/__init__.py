"""The frozen CLIP: built, read by its towers, joined with a learner's prompts.

May import: base, prompts.
"""
