"""Where jobs run: joining clusters, reaching object storage. Knows nothing of images."""
