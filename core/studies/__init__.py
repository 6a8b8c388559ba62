"""Measurements of the project itself: parity, benchmark, the embedded CLIP.

May import: every other room.
"""
