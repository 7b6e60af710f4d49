"""The record of a run: `runs` and `recorder` write to MLflow, `history` is kept beside; meters, logs, traces."""
