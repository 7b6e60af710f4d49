"""Photos: `photo_sets` finds them, `training_photos` what a training reads, `streams` gives it that, `job` prepares."""
