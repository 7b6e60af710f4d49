"""Making a registered version the champion, if it earns it: `job.promote` and `job.roll_back`."""
