"""Many runs: plans of cells, the queue and engines that run them, and reports of what they found.

A plan (``plans``) turns a protocol, or the matrix, into cells (``cells``). ``driver.run_cells``
hands them to the workers of an engine (``engines``), which lease a cell and run it (``worker``).
Reports (``report``) read only the ``results.json`` of the runs, through ``runs``.

May import: base, config, clip, engine.
"""
