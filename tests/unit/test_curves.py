import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from lle.config import BacklitCurve, CurveSettings, ExposureCurve, GammaCurve, LogCurve, SCurve, ToneCurve
from lle.exposure import camera, curves
from lle.exposure.curves import FAMILIES, bag_of_curves, sensor_grain

OFF = {
    "tone": ToneCurve(),
    "gamma": GammaCurve(),
    "log": LogCurve(),
    "s_curve": SCurve(),
    "exposure": ExposureCurve(),
    "backlit": BacklitCurve(),
}
BOTH_WAYS = tuple(curves.EXTREMES)


def only(family: str, **changes) -> CurveSettings:
    chosen = OFF[family].model_copy(update={"frequency": 1.0})
    return CurveSettings(**{**OFF, family: chosen, **changes})


def every(**changes) -> CurveSettings:
    return CurveSettings(**{name: each.model_copy(update={"frequency": 1.0}) for name, each in OFF.items()}, **changes)


@pytest.fixture
def photos() -> Tensor:
    """Well-lit, coloured, with structure."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(6, 3, 6, 8, generator=generator)
    return 0.1 + 0.8 * torch.nn.functional.interpolate(coarse, size=(48, 64), mode="bilinear")


def mean_v(image: Tensor) -> Tensor:
    return image.amax(dim=1).mean(dim=(1, 2))


def grey(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1).expand(1, 3, 1, -1) / 255


@pytest.mark.parametrize(
    ("curve", "parameter", "expected"),
    [
        (curves.tone, 6.0, [0, 0, 4, 46]),
        (curves.tone, 0.1, [193, 222, 238, 247]),
        (curves.log, 10.0, [28, 41, 48, 52]),
        (curves.log, 40.0, [113, 166, 194, 210]),
        (curves.gamma, 0.2, [147, 193, 222, 241]),
        (curves.gamma, 5.0, [0, 0, 8, 62]),
    ],
)
def test_published_curves_have_their_check_values(curve, parameter: float, expected: list[int]):
    result = 255 * curve(grey(16, 64, 128, 192), parameter)[0, 0, 0]
    assert (result - torch.tensor(expected)).abs().max() < 1, "8-bit values, rounded or truncated"


@pytest.mark.parametrize(
    "curve", [lambda x: curves.tone(x, 3.0), lambda x: curves.log(x, 20.0), lambda x: curves.s_curve(x, 0.8, 8.0)]
)
def test_curves_on_v_keep_hue_and_saturation(curve, photos: Tensor):
    changed = curve(photos)
    torch.testing.assert_close(changed / changed.amax(1, keepdim=True), photos / photos.amax(1, keepdim=True))


def test_an_s_curve_keeps_black_and_white_and_is_steepest_at_its_midpoint():
    ramp = torch.linspace(0, 1, 101, dtype=torch.float64).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    curve = curves.s_curve(ramp, 0.7, 8.0)[0, 0, 0]
    assert float(curve[0]) == 0 and float(curve[-1]) == pytest.approx(1)
    assert int(curve.diff().argmax()) in (69, 70)


@pytest.mark.parametrize("family", BOTH_WAYS)
@pytest.mark.parametrize("adaptive", [False, True])
def test_under_exposing_darkens_and_over_exposing_brightens(family: str, adaptive: bool, photos: Tensor):
    light = photos.mean(dim=(1, 2, 3))
    for share, sign in ((1.0, -1), (0.0, 1)):
        changed = bag_of_curves(photos, only(family, under_share=share, adaptive=adaptive), range(6))
        assert changed.shape == photos.shape and float(changed.min()) >= 0 and float(changed.max()) <= 1 + 1e-6
        assert (sign * (changed.mean(dim=(1, 2, 3)) - light) > 0.05).all()


@pytest.mark.parametrize("family", BOTH_WAYS)
def test_adaptive_curves_land_on_the_light_they_aim_at(family: str, photos: Tensor):
    under = only(family, adaptive=True, under_share=1.0, adaptive_under=(0.1, 0.1))
    torch.testing.assert_close(mean_v(bag_of_curves(photos, under, range(6))), torch.full((6,), 0.1), atol=0.01, rtol=0)
    over = only(family, adaptive=True, under_share=0.0, adaptive_over=(0.9, 0.9))
    torch.testing.assert_close(mean_v(bag_of_curves(photos, over, range(6))), torch.full((6,), 0.9), atol=0.02, rtol=0)


def test_an_adaptive_curve_still_moves_a_photo_that_is_dark_already(photos: Tensor):
    night = photos * 0.1
    changed = bag_of_curves(night, only("gamma", adaptive=True, under_share=1.0, adaptive_under=(0.18, 0.18)), range(6))
    torch.testing.assert_close(mean_v(changed) / mean_v(night), torch.full((6,), 0.5), atol=0.02, rtol=0)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_photo_s_curve_follows_from_its_seed_whatever_else_is_in_the_batch(adaptive: bool, photos: Tensor):
    settings, seeds = every(adaptive=adaptive), [11, 12, 13, 14, 15, 16]
    together = bag_of_curves(photos, settings, seeds)
    alone = torch.cat([bag_of_curves(photos[i : i + 1], settings, seeds[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone)
    backwards = bag_of_curves(photos.flip(0), settings, seeds[::-1])
    torch.testing.assert_close(together, backwards.flip(0))
    assert not torch.equal(together, bag_of_curves(photos, settings, [1, 2, 3, 4, 5, 6]))


def test_families_are_drawn_as_often_as_their_frequencies_say():
    """Each family leaves its own fingerprint on one grey pixel: the published mixture is 4 : 4 : 3."""
    count = 1100
    pixel = torch.full((count, 3, 1, 1), 0.5, dtype=torch.float64)
    settings = CurveSettings(
        under_share=1.0,
        tone=ToneCurve(frequency=4, under=(2, 2)),
        gamma=GammaCurve(frequency=4, under=(3, 3)),
        log=LogCurve(frequency=3, under=(10, 10)),
    )
    values = bag_of_curves(pixel, settings, range(count))[:, 0, 0, 0]
    for value, share in ((0.25, 4 / 11), (0.125, 4 / 11), (10 * torch.log(torch.tensor(128.5)).item() / 255, 3 / 11)):
        found = float(torch.isclose(values, torch.tensor(value, dtype=torch.float64), atol=1e-6).double().mean())
        assert found == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_reaches_the_photo_and_is_finite_even_at_black(family: str, photos: Tensor):
    photos = photos.clone()
    photos[:, :, :4] = 0
    photos.requires_grad_()
    bag_of_curves(photos, only(family), range(6)).sum().backward()
    assert torch.isfinite(photos.grad).all() and float(photos.grad.abs().sum()) > 0


def test_exposures_lie_on_the_eight_bit_grid_and_follow_the_camera():
    flat = torch.full((1, 3, 64, 64), 0.7)
    quiet = ExposureCurve(frequency=1, under=(2, 2), shot=(0, 0), read=(0, 0))
    changed = bag_of_curves(flat, only("exposure").model_copy(update={"exposure": quiet, "under_share": 1.0}), [0])
    torch.testing.assert_close(changed, camera.quantise(camera.expose(flat, -2.0)))
    noisy = bag_of_curves(flat, only("exposure", under_share=1.0), [0])
    assert float(noisy.std()) > 1 / 255
    torch.testing.assert_close(noisy * 255, (noisy * 255).round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_noise_an_exposure_is_the_same_but_for_grain_and_rounding(family: str, photos: Tensor):
    quiet = ExposureCurve(frequency=float(family == "exposure"), shot=(0, 0), read=(0, 0), cast=0.3)
    settings = only(family)
    noisy = settings.model_copy(update={"exposure": settings.exposure.model_copy(update={"cast": 0.3})})
    rounded = bag_of_curves(photos, settings.model_copy(update={"exposure": quiet}), range(6))
    clean = bag_of_curves(photos, noisy, range(6), noise=False)
    assert float((clean - rounded).abs().max()) <= 0.5 / 255 + 1e-6
    differs = float((bag_of_curves(photos, noisy, range(6)) - clean).abs().max()) > 2 / 255
    assert differs == (family in ("exposure", "backlit")), "those that a camera takes have noise"


@pytest.mark.parametrize("family", ["exposure", "backlit"])
def test_as_many_photos_as_asked_were_jpeg_files_and_the_rest_of_each_is_as_without(family: str, photos: Tensor):
    photos = photos.repeat(4, 1, 1, 1)
    settings, seeds = only(family), range(len(photos))
    camera_of = settings.exposure.model_copy(update={"jpeg_share": 0.5, "jpeg": (0.6, 0.6)})
    plain = bag_of_curves(photos, settings, seeds)
    filed = bag_of_curves(photos, settings.model_copy(update={"exposure": camera_of}), seeds)
    changed = (filed != plain).flatten(1).any(1)
    assert 0.25 < float(changed.float().mean()) < 0.75
    torch.testing.assert_close(filed[changed], camera.as_jpeg(plain[changed], 60))
    without = [
        bag_of_curves(photos, each, seeds, noise=False)
        for each in (settings, settings.model_copy(update={"exposure": camera_of}))
    ]
    assert torch.equal(*without), "what is wanted of a denoiser has not been through a file"


def test_grain_has_variance_one_and_correlates_only_where_it_is_blurred():
    grain = sensor_grain((2, 3, 128, 128), torch.tensor([0.0, 0.7]), torch.zeros(2), [1, 2])
    torch.testing.assert_close(grain.var(dim=(1, 2, 3)), torch.ones(2), atol=0.05, rtol=0)
    neighbours = (grain[..., 1:] * grain[..., :-1]).mean(dim=(1, 2, 3))
    assert abs(float(neighbours[0])) < 0.02 < 0.3 < float(neighbours[1]) < 0.8


def test_channels_share_as_much_of_the_grain_as_asked():
    grain = sensor_grain((2, 3, 128, 128), torch.tensor([0.0, 0.5]), torch.tensor([0.0, 0.5]), [1, 2])
    shared = (grain[:, 0] * grain[:, 1]).mean(dim=(1, 2))
    torch.testing.assert_close(shared, torch.tensor([0.0, 0.5]), atol=0.03, rtol=0)
    torch.testing.assert_close(grain.var(dim=(2, 3)).mean(1), torch.ones(2), atol=0.05, rtol=0)


def test_backlit_photos_are_dark_in_front_and_not_behind(photos: Tensor):
    quiet = ExposureCurve(shot=(0, 0), read=(0, 0))
    backlit = BacklitCurve(foreground=(3, 3), background=(0, 0), cover=(0.5, 0.5))
    settings = only("backlit").model_copy(update={"backlit": backlit.model_copy(update={"frequency": 1.0})})
    changed = bag_of_curves(photos, settings.model_copy(update={"exposure": quiet}), range(6))
    ratio = (changed / photos).mean(dim=1).flatten(1)
    assert (ratio.quantile(0.95, dim=1) > 0.95).all() and (ratio.quantile(0.05, dim=1) < 0.5).all()


def test_a_pure_power_keeps_the_ratios_of_dark_colours_and_the_curve_of_srgb_does_not(photos: Tensor):
    quiet = ExposureCurve(frequency=1, under=(3, 3), shot=(0, 0), read=(0, 0))
    for share, kept in ((1.0, True), (0.0, False)):
        camera_of = quiet.model_copy(update={"power_law": share})
        settings = only("exposure", under_share=1.0).model_copy(update={"exposure": camera_of})
        changed = bag_of_curves(photos, settings, range(6))
        ratios = [x[:, 0].mean(dim=(1, 2)) / x[:, 2].mean(dim=(1, 2)) for x in (changed, photos)]
        assert torch.allclose(*ratios, rtol=0.02) is kept


def test_a_colour_cast_moves_each_channel_by_at_most_its_stops():
    grey_card = torch.full((40, 3, 8, 8), 0.6)
    quiet = ExposureCurve(frequency=1, under=(1, 1), shot=(0, 0), read=(0, 0), cast=0.5)
    settings = only("exposure", under_share=1.0).model_copy(update={"exposure": quiet})
    light = camera.srgb_to_linear(bag_of_curves(grey_card, settings, range(40))).mean(dim=(2, 3))
    stops = torch.log2(light / camera.srgb_to_linear(grey_card).mean(dim=(2, 3)))
    assert (stops + 1).abs().max() < 0.55
    assert (stops.amax(dim=1) - stops.amin(dim=1)).max() > 0.5 and (stops + 1).std() > 0.2


QUIET = ExposureCurve(frequency=1, shot=(0, 0), read=(0, 0), shoulder=(1, 1))


def bent(**changes) -> CurveSettings:
    """Only exposures by a camera with the strongest response, without noise."""
    return only("exposure", under_share=1.0).model_copy(update={"exposure": QUIET.model_copy(update=changes)})


def scene_of(photo: Tensor) -> Tensor:
    """Light before the strongest response, by its formula: -ln(1 - A x) / A."""
    return -torch.log1p(-0.985 * camera.srgb_to_linear(photo)) / 0.985


def test_a_camera_with_a_response_halves_the_light_of_the_scene_for_each_stop(photos: Tensor):
    changed = bag_of_curves(photos, bent(under=(2, 2)), range(6), noise=False)
    torch.testing.assert_close(scene_of(changed), scene_of(photos) / 4, atol=1e-5, rtol=0)


def test_a_camera_with_a_response_doubles_it_for_each_stop_over(photos: Tensor):
    settings = bent(over=(1, 1)).model_copy(update={"under_share": 0.0})
    midtones = photos * 0.5
    changed = bag_of_curves(midtones, settings, range(6), noise=False)
    torch.testing.assert_close(scene_of(changed), scene_of(midtones) * 2, atol=1e-4, rtol=1e-4)


def test_no_stops_through_a_response_leave_the_photo_as_it_is(photos: Tensor):
    for share in (1.0, 0.0):
        settings = bent(under=(0, 0), over=(0, 0)).model_copy(update={"under_share": share})
        torch.testing.assert_close(bag_of_curves(photos, settings, range(6), noise=False), photos, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stops", [-7.0, -1.0, 0.0, 1.0, 2.0])
def test_a_response_keeps_the_order_of_tones_and_bends_highlights_where_a_gain_clips_them(stops: float):
    ramp = torch.linspace(0, 1, 256, dtype=torch.float64).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    sensor = torch.zeros(1, dtype=torch.bool)
    tones = curves.exposure(ramp, stops, sensor, shoulder=torch.ones(1, dtype=torch.float64))[0, 0, 0]
    clipped = curves.exposure(ramp, stops, sensor)[0, 0, 0]
    assert float(tones[0]) == 0 and float(tones.max()) <= 1
    assert (tones.diff() > 0).all() if stops <= 0 else (tones.diff() >= 0).all()
    if stops > 0:
        assert int((tones > 0.999).sum()) < int((clipped > 0.999).sum()) / 2
    else:
        assert (tones >= clipped - 1e-9).all(), "the dark photo of a bent response keeps more of its highlights"


def test_shoulders_are_drawn_from_their_range_and_follow_from_the_seed():
    white = torch.ones(400, 3, 2, 2, dtype=torch.float64)
    changed = bag_of_curves(white, bent(under=(3, 3), shoulder=(0.3, 1.0)), range(400), noise=False)
    bends = 0.985 * torch.linspace(0.3, 1.0, 1000, dtype=torch.float64)
    light = -torch.expm1(torch.log1p(-bends) / 8) / bends  # of white, three stops darker
    place = torch.searchsorted(light, camera.srgb_to_linear(changed[:, 0, 0, 0]).contiguous()) / 1000
    assert float(light.diff().min()) > 0, "a stronger response leaves white brighter"
    assert abs(float(place.double().mean()) - 0.5) < 0.05 and float(place.min()) < 0.02 and float(place.max()) > 0.98


def test_noise_is_the_sensor_s_and_developed_with_the_light():
    """In bright light a response of slope exp(-A l) flattens it; in the dark it is as without a response."""
    flat = {level: torch.full((1, 3, 128, 128), level) for level in (0.4, 0.8)}
    for level, picture in flat.items():
        ratio = []
        for shoulder in ((0.0, 0.0), (1.0, 1.0)):
            settings = bent(under=(0, 0), shoulder=shoulder, read=(0.02, 0.02), blur=(0, 0))
            noisy = bag_of_curves(picture, settings, [0])
            ratio.append(float(camera.srgb_to_linear(noisy).std()))
        slope = 1 - 0.985 * float(camera.srgb_to_linear(torch.tensor(level)))
        assert ratio[1] / ratio[0] == pytest.approx(slope, rel=0.05)


def test_as_many_photos_are_mildly_dark_as_asked():
    count = 600
    pixel = torch.full((count, 3, 1, 1), 0.5, dtype=torch.float64)
    settings = bent(under=(4, 6), mild=(0.3, 1.5), mild_share=0.3)
    scene = scene_of(bag_of_curves(pixel, settings, range(count), noise=False))[:, 0, 0, 0]
    stops = torch.log2(scene_of(pixel)[0, 0, 0, 0] / scene)
    mild = stops < 2
    assert float(mild.double().mean()) == pytest.approx(0.3, abs=0.06)
    assert 0.29 < float(stops[mild].min()) < float(stops[mild].max()) < 1.51
    assert 3.9 < float(stops[~mild].min()) < float(stops[~mild].max()) < 6.1


def test_backlit_photos_and_casts_go_through_the_response_too(photos: Tensor):
    backlit = BacklitCurve(frequency=1, foreground=(2, 2), background=(0, 0), cover=(0.5, 0.5))
    settings = only("backlit").model_copy(
        update={"backlit": backlit, "exposure": QUIET.model_copy(update={"frequency": 0.0})}
    )
    ratio = scene_of(bag_of_curves(photos, settings, range(6), noise=False)) / scene_of(photos)
    torch.testing.assert_close(ratio.amin(dim=(1, 2, 3)), torch.full((6,), 0.25), atol=0.02, rtol=0)
    torch.testing.assert_close(ratio.amax(dim=(1, 2, 3)), torch.ones(6), atol=0.02, rtol=0)
    cast = bag_of_curves(photos, bent(under=(1, 1), cast=0.5), range(6), noise=False)
    gains = (scene_of(cast) / scene_of(photos)).flatten(2)
    torch.testing.assert_close(gains.amin(dim=2), gains.amax(dim=2), rtol=1e-3, atol=1e-4)
    assert float(gains[..., 0].log2().add(1).abs().max()) <= 0.51 and float(gains[..., 0].std()) > 0.02


def test_a_solved_exposure_lands_on_its_light_through_a_response_as_well(photos: Tensor):
    settings = bent().model_copy(update={"adaptive": True, "adaptive_under": (0.1, 0.1)})
    changed = bag_of_curves(photos, settings, range(6), noise=False)
    torch.testing.assert_close(mean_v(changed), torch.full((6,), 0.1), atol=0.01, rtol=0)


def test_a_photo_that_lacks_light_and_is_wanted_so_comes_from_the_same_camera(photos: Tensor):
    stops = torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0, 1.25])
    settings = bent(power_law=0.5, shoulder=(0.3, 1.0))
    for seed, each in enumerate(stops):
        taken = bag_of_curves(
            photos[:1],
            settings.model_copy(update={"exposure": settings.exposure.model_copy(update={"under": (each, each)})}),
            [seed],
            noise=False,
        )
        torch.testing.assert_close(curves.darker(photos[:1], each.view(1), settings, [seed]), taken)
    straight = only("exposure")
    assert torch.equal(curves.darker(photos, stops, straight, range(6)), camera.expose(photos, -stops))


def test_what_chance_says_of_older_settings_does_not_change_with_newer_ones():
    """Seeds of earlier trainings give the pictures they gave: newer draws come behind the first twelve."""
    drawn = curves._draws([5])[0]
    assert torch.equal(drawn[:12], torch.rand(12, generator=torch.Generator().manual_seed(5)))


def test_as_many_photos_have_a_cast_as_asked():
    pixel = torch.full((600, 3, 1, 1), 0.5, dtype=torch.float64)
    changed = bag_of_curves(pixel, bent(under=(1, 1), cast=0.35, cast_share=0.4), range(600), noise=False)[..., 0, 0]
    tinted = changed.amax(dim=1) - changed.amin(dim=1) > 1e-6
    assert float(tinted.double().mean()) == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"gamma": {"under": (8.0, 5.0)}},
            r"\(8.0, 5.0\) runs downwards; write the smaller number first: \[5.0, 8.0\]",
        ),
        ({"exposure": {"shoulder": (0.3, 1.2)}}, "ends above 1; give parts of at most 1"),
        ({"gamma": {"over": (-0.1, 0.2)}}, "begins below 0; give numbers of at least 0"),
        ({name: {"frequency": 0} for name in FAMILIES}, "every family has frequency 0"),
    ],
)
def test_impossible_curves_are_refused_in_one_sentence(wrong: dict, sentence: str):
    with pytest.raises(ValidationError, match=sentence):
        CurveSettings(**wrong)


def test_a_wrong_number_of_seeds_is_told(photos: Tensor):
    with pytest.raises(ValueError, match="got 2 seeds for 6 images"):
        bag_of_curves(photos, every(), [1, 2])


def ranges(low: float, high: float) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.floats(low, high), st.floats(low, high)).map(sorted).map(tuple)


bags = st.builds(
    CurveSettings,
    under_share=st.floats(0, 1),
    adaptive=st.booleans(),
    adaptive_under=ranges(0.01, 0.5),
    adaptive_over=ranges(0.5, 0.99),
    tone=st.builds(ToneCurve, frequency=st.floats(0.1, 9), under=ranges(1, 20), over=ranges(0.05, 1)),
    gamma=st.builds(GammaCurve, frequency=st.floats(0, 9), under=ranges(1, 20), over=ranges(0.05, 1)),
    log=st.builds(LogCurve, frequency=st.floats(0, 9)),
    s_curve=st.builds(SCurve, frequency=st.floats(0, 9)),
    exposure=st.builds(
        ExposureCurve,
        frequency=st.floats(0, 9),
        under=ranges(0, 8),
        over=ranges(0, 8),
        shoulder=ranges(0, 1),
        mild_share=st.floats(0, 1),
    ),
    backlit=st.builds(BacklitCurve, frequency=st.floats(0, 9)),
)


@settings(max_examples=40)
@given(bags, st.lists(st.integers(0, 2**31 - 1), min_size=3, max_size=3), st.floats(0, 1), st.floats(0, 1))
def test_whatever_the_bag_holds_pictures_stay_pictures_and_follow_from_their_seeds(
    bag: CurveSettings, seeds: list[int], darkest: float, brightest: float
):
    ramp = torch.linspace(darkest, brightest, 3 * 3 * 8 * 8).view(3, 3, 8, 8)
    changed = bag_of_curves(ramp, bag, seeds)
    assert changed.shape == ramp.shape and torch.isfinite(changed).all()
    assert float(changed.min()) >= 0 and float(changed.max()) <= 1 + 1e-6
    assert torch.equal(changed, bag_of_curves(ramp, bag, seeds))
