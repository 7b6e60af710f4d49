"""Measurements whose results are kept: one command each, JSON in results/, tables in docs/benchmarks.md."""
