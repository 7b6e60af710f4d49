"""What you run: one thin file per job, and what those files share."""
