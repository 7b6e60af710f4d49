"""The command line, layers of settings and presets."""
