"""Datasets, few-shot draws, transforms, and the batches made of them.

May import: base, synthetic, prompts, clip.
"""
