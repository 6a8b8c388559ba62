"""The configuration: one schema row a key, YAML files, and ``KEY VALUE`` pairs.

May import: base.
"""
