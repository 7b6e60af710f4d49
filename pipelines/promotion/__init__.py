"""Making a registered version the champion, if it earns it."""
