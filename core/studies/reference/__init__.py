"""The computation as the official code does it: the slow side of the benchmark.

May import: base, clip, data, engine, prompts, and ``softprompt.trainers``.
"""
