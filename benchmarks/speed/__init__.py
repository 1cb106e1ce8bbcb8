"""Measure the cost of a sample in our trees, the pool and DriftMoE: `python -m benchmarks.speed --help` says how."""
