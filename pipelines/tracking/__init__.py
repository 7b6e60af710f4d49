"""The record of a run: MLflow, history, meters, logs."""
