"""Networks of tasks downstream in the training: what ours say of pictures, and whose network is taken or refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from skimage.data import astronaut
from tiny import Told, tiny_settings, tiny_train
from torch import Tensor, nn

from benchmarks.tasks import read_again, recalled
from lle.config.objective import TaskTerm
from lle.dotted import OwnCodeError
from lle.exposure.camera import expose
from lle.images import to_tensor
from lle.losses.task import load_task
from lle.tasks.faces import FaceMaps, pyramid

OURS = ["lle.tasks.general:GeneralFeatures", pytest.param("lle.tasks.faces:FaceMaps", id="faces")]
OWN = """
    import torch
    from torch import nn

    class Red(nn.Module):
        def __init__(self):
            super().__init__()
            self.weigh = nn.Parameter(torch.ones(()))
            self.asked = 0

        def forward(self, enhanced, wanted):
            self.asked += 1
            return self.weigh * (enhanced[:, 0] - wanted[:, 0]).abs().mean()

    class Each(nn.Module):
        def forward(self, enhanced, wanted):
            return (enhanced - wanted).abs().mean(dim=(1, 2, 3))

    class Wants(nn.Module):
        def __init__(self, size):
            super().__init__()

    red = Red()

    def function():
        return 3
"""
ONLY_TASK = {
    **{name: {"weight": 0} for name in ("guidance", "identity", "smoothness", "reconstruction", "rank")},
}
ONLY_ENHANCEMENT = {"prompt_init": {"steps": 0}, "reconstruction": {"steps": 0}, "rounds": 1}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_tasks.py").write_text(dedent(OWN))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_tasks", None)


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return to_tensor(astronaut()[:256:2, 100:356:2])[None]  # with a face of some 45 px


def task_of(path: str) -> nn.Module:
    network = load_task(TaskTerm(weight=1, module=path))
    assert network is not None
    return network


@pytest.mark.parametrize("path", OURS)
def test_a_photo_is_like_itself_and_less_like_itself_the_darker_it_is(path: str, photo: Tensor):
    network = task_of(path)
    values = [float(network(expose(photo, torch.tensor([-stops])), photo)) for stops in (0.5, 1.5, 4.0)]
    assert float(network(photo, photo)) == pytest.approx(0, abs=1e-6)
    assert 0 < values[0] < values[1] < values[2]


@pytest.mark.parametrize("path", OURS)
def test_the_pictures_get_the_gradient_and_the_network_none(path: str, photo: Tensor):
    network = task_of(path)
    enhanced = expose(photo, torch.tensor([-2.0])).requires_grad_()
    network(enhanced, photo).backward()
    assert enhanced.grad is not None and float(enhanced.grad.abs().sum()) > 0 and torch.isfinite(enhanced.grad).all()
    assert not any(each.requires_grad for each in network.parameters()) and not network.training


def test_two_pictures_give_the_mean_of_each(photo: Tensor):
    dark = expose(photo, torch.tensor([-2.0]))
    for network in map(task_of, ("lle.tasks.general:GeneralFeatures", "lle.tasks.faces:FaceMaps")):
        both = network(torch.cat([dark, photo]), torch.cat([photo, photo]))
        assert float(both) == pytest.approx(float(network(dark, photo)) / 2, rel=1e-3)


def test_faces_of_20_px_and_more_are_looked_for():
    sizes = pyramid(100, 200)
    assert sizes[0] == (60, 120) and min(sizes[-1]) >= 12 and all(a > b for a, b in pairwise(sizes))
    with pytest.raises(ValueError, match="19 x 40 px have no room for a face of 20 px; give a larger data.image_size"):
        pyramid(40, 19)


def test_a_task_alone_trains_the_enhancer_and_is_told(own):
    told = Told()
    objective = {**ONLY_TASK, "task": {"weight": 2, "module": "own_tasks:red"}}
    tiny_train(tiny_settings(objective=objective, schedule=ONLY_ENHANCEMENT), told=told)
    assert told.steps and all(step.metrics["term/task"] > 0 for step in told.steps)
    assert sys.modules["own_tasks"].red.asked == len(told.steps)
    assert float(sys.modules["own_tasks"].red.weigh) == 1


def test_a_task_without_weight_is_not_loaded():
    assert load_task(TaskTerm(module="not.there:Net")) is None


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("own_tasks:Each", "Each must give one number, a tensor without dimensions"),
        ("own_tasks:Wants", "own_tasks:Wants must be made without arguments"),
        ("own_tasks:function", "own_tasks:function is no torch module; give the path of a subclass of nn.Module"),
        ("own_tasks:absent", "has no absent; correct the name"),
        ("not_there:Net", "not_there cannot be imported"),
    ],
)
def test_what_is_no_task_is_an_error_that_names_the_setting(own, module: str, reason: str):
    objective = {**ONLY_TASK, "task": {"weight": 1, "module": module}}
    with pytest.raises(OwnCodeError, match=f"^objective.task.module: .*{re.escape(reason)}"):
        tiny_train(tiny_settings(objective=objective, schedule=ONLY_ENHANCEMENT))


def test_what_is_no_path_is_refused():
    with pytest.raises(ValueError, match="'faces' is no path; write module:Class"):
        TaskTerm(weight=1, module="faces")


def test_without_the_package_faces_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    monkeypatch.setitem(sys.modules, "facenet_pytorch.models.mtcnn", None)
    with pytest.raises(
        OwnCodeError, match=r"needs one more package; pip install facenet-pytorch \(or 'lle\[faces\]'\)"
    ):
        FaceMaps()


def test_a_face_is_found_by_a_box_that_shares_a_third_with_it():
    face = (10.0, 10.0, 30.0, 30.0)
    assert recalled([face, (50.0, 50.0, 60.0, 60.0)], [(12.0, 10.0, 34.0, 30.0)]) == [True, False]
    assert recalled([face], [(25.0, 10.0, 45.0, 30.0)]) == [False] and recalled([face], []) == [False]


def test_a_word_is_read_as_often_as_it_stands_there():
    assert read_again(["exit", "exit", "stop"], ["exit", "open"]) == [True, False, False]
