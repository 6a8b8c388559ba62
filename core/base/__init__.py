"""The ground floor: errors, registries, plugins, seeds, files, processes and the log.

May import: nothing of the package.
"""
