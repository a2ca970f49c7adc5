"""Postil's speed beside that of others: `python benchmarks/bench.py`, see README.md."""
