"""How property tests run."""

from hypothesis import settings

settings.register_profile("lle", deadline=None)  # on a busy machine a slow example is no failure
settings.load_profile("lle")
