"""Fetching datasets and checking what is on the disk.

May import: base, data.
"""
