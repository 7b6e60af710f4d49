"""Asking people which of two pictures is better: `job.run` is the page, `votes` the file and what it says."""
