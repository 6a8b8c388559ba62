"""Many runs: the cells of a protocol, the queue and engines that run them, and reports.

May import: base, config, engine.
"""
