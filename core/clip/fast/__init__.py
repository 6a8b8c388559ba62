"""The fast paths: each computes what its slow counterpart does, and decides where it applies.

* ``onednn``: a frozen tower's linear layers by oneDNN, with prepacked weights.
* ``ragged``: the text tower without padding, a shared start computed once.
* ``chunked``: encoding within a limit of memory, recomputed for gradients.
* ``sharded``: encoding divided among processes.
* ``store``: features that were computed before.

``taken`` tells which of them a run takes, for which it looks at a whole ``PromptedCLIP``.
May import: base, prompts, and of clip the towers and gradients.
"""
