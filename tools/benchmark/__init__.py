"""Benchmarks that users can run: python -m tools.benchmark NAME."""
