"""Measuring models on photos: `job.evaluate`, and for others `worker.measure_models` and `quality.compare`."""
