"""The worker under faults (`python -m benchmarks.service.faults`), and its speed (`... .speed`)."""
