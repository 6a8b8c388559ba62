"""Meta-learned prompts (GRAM): captioned pictures, their clusters, tasks and the meta-training.

May import: every room above but download and coop; nothing generic imports it.
"""
