"""The towers that the settings name, with their weights."""

from __future__ import annotations

import logging

from lle.config import PriorSettings
from lle.dotted import said
from lle.prior.towers import Prior, Tower
from lle.prior.vgg16 import load_vgg16
from lle.prior.weights import (
    BUNDLED,
    GRADED,
    GUIDANCE_WEIGHTS,
    IDENTITY_WEIGHTS,
    IMAGENET,
    PACKAGED,
    UNGRADED,
    PriorError,
    find_weights,
    model_setting,
)


def load_prior(settings: PriorSettings) -> Prior:
    """The towers named by the settings, on the CPU; one object for both jobs where they name the same.

    Raises:
        PriorError: weights that cannot be had or do not fit.
    """
    features = load_vgg16(settings.vgg16_weights) if settings.features == "vgg16" else None
    guidance = load_tower(settings.model, settings.pretrained)
    same = settings.identity == (settings.model, settings.pretrained)
    return Prior(guidance, guidance if same else load_tower(*settings.identity, IDENTITY_WEIGHTS), features)


def load_tower(model: str, pretrained: str, setting: str = GUIDANCE_WEIGHTS) -> Tower:
    """One frozen CLIP.

    Args:
        model: open_clip's name, `bundled`, `untrained`, `imagenet`, `graded` or `ungraded`.
        pretrained: see `find_weights`; ignored for the latter five.
        setting: the setting that names them, for what the errors say.

    Raises:
        PriorError: weights that cannot be had or do not fit the model.
    """
    if model == IMAGENET:
        from lle.prior.imagenet import ImageNetTower

        return ImageNetTower()
    if model in (GRADED, UNGRADED):
        from lle.prior.graded import GradedTower, load_graded

        return GradedTower(load_graded(trained=model == GRADED), model)
    if model in PACKAGED:
        from lle.prior.bundled import load_bundled

        module, preprocess = load_bundled(trained=model == BUNDLED)
        return Tower(module, model, preprocess["mean"], preprocess["std"])
    import open_clip

    weights = find_weights(model, pretrained, setting)
    logging.getLogger("open_clip").setLevel(logging.ERROR)
    try:
        return Tower(open_clip.create_model(model, pretrained=weights, weights_only=True), model)
    except (RuntimeError, AssertionError, KeyError) as error:
        raise PriorError(
            f"{setting}: {pretrained} does not fit {model} ({said(error)}); "
            f"name the model these weights were made for in {model_setting(setting)}"
        ) from error
