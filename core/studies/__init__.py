"""Measurements of the project itself, and how its embedded CLIP was made.

* ``parity``: replay a recorded official run (``recipe``: its weights and batches, ``watch``: the
  numbers of a step) and compare every number.
* ``benchmark``: seconds, operations and memory, beside ``reference``, the official computation.
* ``backbones``: a table of the prompts that each backbone takes.
* ``catalogue``: tables of the registered datasets, prompt learners and trainers.
* ``pretraining``: the training of the embedded CLIP.

May import: every other room, and ``softprompt.trainers``. Nothing imports it but tools and tests.
"""
