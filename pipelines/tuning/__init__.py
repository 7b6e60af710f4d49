"""Sweeps, trainings that search settings: `job.search_settings`, from a `search_space.Plan`."""
