"""The benchmark: what training steps, evaluation and start-up cost, ours beside the reference's.

``run.run_benchmark`` measures every row in processes of its own and returns the tables.
May import: base, config, clip, prompts, data, engine, studies.reference.
"""
