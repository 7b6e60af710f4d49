"""Sweeps: trainings that search settings."""
