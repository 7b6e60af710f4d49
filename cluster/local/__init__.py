"""A real S3 server and a real MLflow server on this machine: `python -m cluster.local start`."""
