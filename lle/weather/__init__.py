"""Weather: what air and water do to a photo of a well-lit scene."""
