"""Light: what a camera does to a photo when the exposure is wrong."""
