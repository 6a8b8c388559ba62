"""Cluster captioned pictures by their features into topics, named classes and visual domains.

May import: base, prompts, clip, and the rest of meta.
"""
