"""Models by name: registered, saved, published, served, exported."""
