"""Meta-learned prompts (GRAM): captioned pictures, their clusters, tasks and the meta-training.

May import: base, synthetic, config, prompts, clip, data, engine, protocols. Nothing generic
imports it: only the trainer ``gram``, the tools and the documentation do.
"""
