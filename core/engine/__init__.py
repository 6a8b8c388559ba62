"""One run: training, evaluation, checkpoints, records and results.

May import: base, config, prompts, clip, data.
"""
