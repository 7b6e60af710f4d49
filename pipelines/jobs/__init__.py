"""What the entry points share: settings, data, workers, records."""
