"""Prompt learners, one a file, and what they return: ``Prompts``.

May import: base.
"""
