"""CLIP's towers, run with prompts: the image's and the text's.

May import: base, prompts, and the rest of clip.
"""
