"""What other gates, or fewer trees, would add to the default: `python -m benchmarks.beyond --help` says how."""
