"""A training, from the driver to its workers: `job.fit` does a whole one, `job.train` one within a sweep."""

from pipelines.job import UserError


class TrainingError(UserError):
    """The training cannot start or did not succeed; one sentence that says why."""
