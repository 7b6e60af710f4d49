"""Measuring several models on several sets of photos, side by side: `job.compare`."""
