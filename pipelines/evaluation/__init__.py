"""Measuring a model on photos."""
