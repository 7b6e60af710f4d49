"""Models by name: `resolve.find_model`, `registry.register`, `champion.Registry`, `export`."""
