"""The ground floor: errors, registries, plugins, seeds, files, leases, processes, signals, log.

May import: nothing of the package.
"""
