import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lle.exposure.camera import linear_to_srgb, srgb_to_linear
from lle.exposure.shoulder import expose_with_shoulder, k_of, shoulder

STRENGTHS = [-1000.0, -60.0, -3.0, -0.06, -0.04, -1e-4, 1e-4, 0.04, 0.06, 3.0, 60.0, 1000.0]
RAMP = torch.linspace(0, 1, 257, dtype=torch.float64)


def number(k: float) -> torch.Tensor:
    return torch.tensor(k, dtype=torch.float64)


@pytest.mark.parametrize("k", [-20.0, -3.0, -0.06, 0.06, 3.0, 20.0])
def test_the_curve_is_its_formula(k: float):
    expected = (1 - torch.exp(-k * RAMP)) / (1 - math.exp(-k))
    torch.testing.assert_close(shoulder(RAMP, number(k)), expected, rtol=0, atol=1e-12)


def test_light_at_half_scale_under_k_of_two_logarithms_of_two_is_two_thirds():
    """(1 - 1/2) / (1 - 1/4)."""
    assert float(shoulder(number(0.5), number(2 * math.log(2)))) == pytest.approx(2 / 3)


def test_k_of_zero_leaves_every_value_as_it_is():
    assert torch.equal(shoulder(RAMP, number(0.0)), RAMP)
    pictures = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(expose_with_shoulder(pictures, torch.zeros(2, 1, 1, 1)), pictures, atol=1e-6, rtol=0)


@pytest.mark.parametrize("k", [0.0, -0.0499, 0.0499, -0.0501, 0.0501, 1e-6])
def test_the_gradient_by_k_is_right_at_zero_and_where_the_series_ends(k: float):
    """At k = 0 it is x (1 - x) / 2; elsewhere finite differences of the formula say what it is."""
    exponent = torch.full_like(RAMP, k, requires_grad=True)
    shoulder(RAMP, exponent).sum().backward()
    step = 1e-3 if abs(k) < 1e-3 else 1e-5
    formula = [-torch.expm1(-near * RAMP) / -math.expm1(-near) for near in (k + step, k - step)]
    torch.testing.assert_close(exponent.grad, (formula[0] - formula[1]) / (2 * step), rtol=0, atol=1e-6)
    if k == 0:
        torch.testing.assert_close(exponent.grad, RAMP * (1 - RAMP) / 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", STRENGTHS)
def test_black_and_white_stay_and_the_order_of_tones_is_kept(k: float):
    curve = shoulder(RAMP, number(k))
    assert float(curve[0]) == 0 and float(curve[-1]) == pytest.approx(1, abs=1e-12)
    assert (curve.diff() >= 0).all()
    bend = curve[1:-1] - RAMP[1:-1]
    assert (bend > 0).all() if k > 0 else (bend < 0).all()


@pytest.mark.parametrize("k", [-20.0, -3.0, -0.04, -1e-4, 1e-4, 0.04, 3.0, 20.0])
def test_every_curve_has_an_inverse(k: float):
    back = -torch.log1p(math.expm1(-k) * shoulder(RAMP, number(k))) / k
    torch.testing.assert_close(back, RAMP, rtol=0, atol=1e-6)


@pytest.mark.parametrize("k", STRENGTHS)
def test_a_darkening_curve_is_the_brightening_one_turned_by_half_a_circle(k: float):
    torch.testing.assert_close(shoulder(RAMP, number(-k)), 1 - shoulder(1 - RAMP, number(k)), rtol=0, atol=1e-9)


@given(st.floats(-7, 7), st.floats(-7, 7), st.floats(0, 1))
def test_more_exposure_is_never_darker(one: float, other: float, light: float):
    less, more = sorted((one, other))
    values = [float(shoulder(number(light), k_of(number(u)))) for u in (less, more)]
    assert values[0] <= values[1] + 1e-8, "1e-8: the series and the formula meet no better"


def test_a_far_step_of_u_by_the_logarithm_of_two_doubles_the_shadows():
    shadow = number(1e-6)
    gains = [float(shoulder(shadow, k_of(number(u)))) for u in (4.0, 4.0 + math.log(2))]
    assert gains[1] / gains[0] == pytest.approx(2, rel=1e-3)


def test_single_precision_is_finite_with_finite_gradients_at_every_strength():
    image = torch.linspace(0, 1, 3 * 16).view(1, 3, 4, 4).expand(29, -1, -1, -1).clone().requires_grad_()
    u = torch.linspace(-7, 7, 29).requires_grad_()
    exposed = expose_with_shoulder(image, k_of(u)[:, None, None, None])
    exposed.sum().backward()
    for values in (exposed, image.grad, u.grad):
        assert torch.isfinite(values).all()
    assert float(exposed.detach().min()) >= 0 and float(exposed.detach().max()) <= 1
    assert float(u.grad[14]) > 0.1, "u = 0, where networks begin, is no dead point"


def test_pictures_are_exposed_in_linear_light():
    image = torch.rand(2, 3, 5, 7)
    k = torch.tensor([4.0, -2.0]).view(2, 1, 1, 1)
    expected = linear_to_srgb(shoulder(srgb_to_linear(image), k))
    torch.testing.assert_close(expose_with_shoulder(image, k), expected)


def test_u_has_slope_two_at_zero_and_doubles_the_shadows_every_logarithm_of_two():
    """k = 2 sinh(u): dk/du = 2 at 0, and far out k, the slope in the shadows, doubles every ln 2."""
    u = torch.zeros((), dtype=torch.float64, requires_grad=True)
    k_of(u).backward()
    assert float(u.grad) == 2
    assert float(k_of(number(5.0 + math.log(2))) / k_of(number(5.0))) == pytest.approx(2, rel=1e-3)
