"""Download datasets, and check those on the disk.

May import: base, data.
"""
