"""Paired measurements; their results as JSON under results/, as tables in docs/benchmarks.md."""
