"""A training, from the driver to its workers."""
