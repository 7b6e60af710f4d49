"""Networks, loss terms and optimisers from outside, by `module:NAME`: what is taken, and what is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from tiny import NO_COPY, Told, newest, tiny_settings, tiny_train

import lle
from lle.config import EnhancerSettings, ObjectiveSettings
from lle.config.schedule import OptimiserSettings
from lle.dotted import OwnCodeError, imported, is_dotted
from lle.enhancers import build_enhancer
from lle.losses.objective import DARK, MIS_EXPOSED, TERMS, WELL_LIT, chosen, needed, own_lines
from lle.model import Model
from lle.training.optimisers import optimiser_class
from lle.training.schedule import Phase
from pipelines.config.loading import load_settings, to_yaml
from pipelines.models.registry import _sources

NETS = """
    import torch
    from torch import nn
    from lle.enhancers import Enhanced, Enhancer

    class Net(Enhancer):
        def __init__(self, start=0.0):
            super().__init__()
            self.gain = nn.Parameter(torch.tensor([start]))
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, image):
            if self.training:
                self.seen += 1
            return Enhanced((image * self.gain.exp()).clamp(max=1), image[:, :1] * 0 + self.gain)

    class Even(Net):
        def forward(self, image):
            return Enhanced(image.view(*image.shape[:2], image.shape[2] // 2, 2, -1), image)

    class Plain(nn.Module): ...

    class Bare(Net):
        def forward(self, image):
            return image

    class Small(Net):
        def forward(self, image):
            return Enhanced(image[..., 1:], image)

    def function(image):
        return image
"""
TERMS_OF_ONES_OWN = """
    from lle.losses.objective import Line, DENOISING, ENHANCEMENT, MIS_EXPOSED, RECONSTRUCTION, WELL_LIT

    def too_dark(see):
        return (1 - see.enhanced.image).mean()

    def of_each(see):
        return see.enhanced.image.mean(dim=(1, 2, 3))

    restored = Line("any", ENHANCEMENT, lambda see, term: (see.input - see.wanted).abs().mean(), of=MIS_EXPOSED)
    of_nothing = Line("any", DENOISING, lambda see, term: 0)
    denoised = Line("any", DENOISING, lambda see, term: (see.input - see.wanted).abs().mean(), of=MIS_EXPOSED)
    in_vain = Line("any", ENHANCEMENT, lambda see, term: 0, of=MIS_EXPOSED, needs=(WELL_LIT,))
    judging = Line("any", ENHANCEMENT, lambda see, term: see.judgement, judges=True)
    copied = Line("any", RECONSTRUCTION, lambda see, term: (see.input - see.enhanced.image).abs().mean())
    number = 3
"""
OPTIMISERS = """
    import torch

    class Counting(torch.optim.SGD):
        def step(self):
            super().step()
            for each in self.param_groups[0]["params"]:
                self.state[each]["count"] = 1

    class Growing(torch.optim.SGD):
        def step(self):
            super().step()
            self.param_groups[0]["lr"] *= 1.1

    class Momentum(torch.optim.SGD):
        def __init__(self, params, lr, weight_decay):
            super().__init__(params, lr=lr, momentum=0.9, weight_decay=weight_decay)
"""
ONLY_ENHANCEMENT = {"prompt_init": {"steps": 0}, "reconstruction": {"steps": 0}, "enhancement": {"steps": 2}}
NO_OTHERS = {name: {"weight": 0} for name in ("guidance", "identity", "smoothness", "reconstruction", "rank")}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Writes a module that can be imported until the test ends."""
    written = list[str]()

    def write(name: str, code: str) -> Path:
        file = tmp_path / "outside" / f"{name.replace('.', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(code))
        monkeypatch.syspath_prepend(str(tmp_path / "outside"))
        written.append(name.partition(".")[0])
        return file

    yield write
    own_lines.cache_clear()
    for name in [each for each in sys.modules if each.partition(".")[0] in written]:
        del sys.modules[name]


# --- paths ------------------------------------------------------------------------------------------------------------


NO_PATHS = ["a.b", ":B", "a:", "a..b:C", "a:b:c", "a:B.C", "s3://bucket"]


@pytest.mark.parametrize(
    ("text", "answer"), [("a:B", True), ("a.b.c:d_e", True), *((each, False) for each in NO_PATHS)]
)
def test_a_dotted_path_is_a_module_and_a_name(text: str, answer: bool) -> None:
    assert is_dotted(text) is answer


def test_what_cannot_be_imported_is_told_with_what_to_do(module) -> None:
    with pytest.raises(OwnCodeError, match=r"^x: nowhere_at_all cannot be imported \(No module named .*PYTHONPATH"):
        imported("nowhere_at_all:Net", "x")
    module("broken_one", "import sys\nsys.exit('no')")
    with pytest.raises(OwnCodeError, match=r"^x: broken_one cannot be imported \(no\)"):
        imported("broken_one:Net", "x")
    module("empty_one", "")
    with pytest.raises(OwnCodeError, match=r"^x: empty_one \(.*empty_one.py\) has no Net; correct the name"):
        imported("empty_one:Net", "x")


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("Plain", "", "is no network; derive its class from lle.enhancers.Enhancer"),
        ("function", "", "is no network; derive its class"),
        ("Net", '{"depth": 3}', 'cannot be made with enhancer.options {"depth": 3} (Net.__init__() got an unexpected'),
        ("Even", "", "fails on a picture of 33 x 47 (shape"),
        ("Bare", "", "must give Enhanced(image, maps)"),
        ("Small", "", "must give Enhanced(image, maps)"),
    ],
)
def test_a_class_that_is_no_network_is_refused_in_one_sentence(module, name: str, options: str, reason: str) -> None:
    module("own_nets", NETS)
    with pytest.raises(OwnCodeError, match=f"^enhancer.arch: own_nets:{name} {re.escape(reason)}") as refused:
        build_enhancer(EnhancerSettings(arch=f"own_nets:{name}", options=options))
    assert "\n" not in str(refused.value)


def test_trying_a_network_leaves_it_as_it_was_made(module) -> None:
    module("own_nets", NETS)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    network = build_enhancer(EnhancerSettings(arch="own_nets:Net", options='{"start": 0.5}'))
    assert network.training and float(network.seen) == 0 and float(network.gain.detach()) == 0.5
    assert torch.equal(torch.rand(1), expected), "no random number was taken"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["--enhancer.options", "[3]", "--enhancer.arch", "a:B"],
            "enhancer.options: [3] does not name arguments in JSON",
        ),
        (
            ["--enhancer.options", "{3", "--enhancer.arch", "a:B"],
            "enhancer.options: {3 does not name arguments in JSON",
        ),
        (
            ["--enhancer.options", "{}", "--enhancer.arch", "curves"],
            "enhancer.options: are for a class of your own, and",
        ),
        (["--enhancer.arch", "a b:C"], "enhancer.arch: a b:C is not allowed; give one of retinex"),
        (["--enhancer.arch", "nets.Net"], "or module:Class"),
        (["--objective.own", "a:b"], "objective.own: 'a:b' is no term and weight; write module:function=weight"),
        (["--objective.own", "a:b=-1"], "objective.own: 'a:b=-1' is no term and weight"),
        (["--objective.own", "a:b=inf"], "objective.own: 'a:b=inf' is no term and weight"),
        (["--objective.own", "a:b=1", "c:b=2"], "objective.own: c:b=2: there is a term b already"),
        (["--objective.own", "a:identity=1"], "objective.own: a:identity=1: there is a term identity already"),
        (["--optimiser.name", "adam"], "optimiser.name: 'adam' names no class; write module:Class"),
    ],
)
def test_mistakes_in_the_settings_are_one_sentence(given: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit):
        load_settings(["--init_from", "", *given])
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_model_of_a_class_that_is_not_here_is_refused_in_one_sentence(module, tmp_path: Path) -> None:
    module("own_nets", NETS)
    chosen = EnhancerSettings(arch="own_nets:Net")
    folder = Model(build_enhancer(chosen), chosen).save(tmp_path / "saved")
    assert isinstance(lle.load(folder).enhancer, sys.modules["own_nets"].Net)
    description = folder / "model.json"
    description.write_text(description.read_text().replace("own_nets:Net", "gone_nets:Net"))
    with pytest.raises(
        ValueError, match="its network is not ours: enhancer.arch: gone_nets cannot be imported"
    ) as refused:
        lle.load(folder)
    assert "\n" not in str(refused.value)
    description.write_text(description.read_text().replace("gone_nets:Net", "os:system"))
    with pytest.raises(ValueError, match="os:system is no network"):
        lle.load(folder)


def test_code_that_lies_beside_a_model_is_not_run(module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module("own_nets", NETS)
    chosen = EnhancerSettings(arch="own_nets:Net")
    folder = Model(build_enhancer(chosen), chosen).save(tmp_path / "gift" / "model")
    description = folder / "model.json"
    before = description.read_text()
    for place, path in ((folder / "nets.py", "gift.model.nets:Net"), (folder.parent / "nets.py", "gift.nets:Net")):
        place.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{dedent(NETS)}")
        description.write_text(before.replace("own_nets:Net", path))
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(ValueError, match="lies beside the model; move the module, or the model, elsewhere"):
            lle.load(folder)
        assert not (tmp_path / "ran").exists()


def test_a_registered_model_takes_the_python_files_of_its_package_along(module, tmp_path: Path) -> None:
    file = module("ownpackage.nets", NETS)
    (file.parent / "secret.env").write_text("KEY=1")
    module("own_nets", NETS)
    for number, (arch, expected) in enumerate(
        [("ownpackage.nets:Net", ["ownpackage/nets.py"]), ("own_nets:Net", ["own_nets.py"]), ("curves", [])]
    ):
        chosen = EnhancerSettings(arch=arch)
        folder = tmp_path / str(number)
        folder.mkdir()
        places = list(_sources(Model(build_enhancer(chosen), chosen), folder))
        files = [str(each.relative_to(folder)) for each in sorted(folder.rglob("*")) if each.is_file()]
        assert [each for each in files if not each.startswith("lle/")] == expected
        assert [each.name for each in places] == ["lle", *[each.partition("/")[0] for each in expected]]


# --- terms ------------------------------------------------------------------------------------------------------------


def on(*own: str, **weights: float) -> ObjectiveSettings:
    return ObjectiveSettings(**{name: {"weight": weights.get(name, 0)} for name in ObjectiveSettings.terms()}, own=own)


def test_a_term_with_weight_is_computed_and_one_without_is_not(module) -> None:
    module("own_terms", TERMS_OF_ONES_OWN)
    lines = chosen(on("own_terms:too_dark=2", "own_terms:of_each=0"), Phase.ENHANCEMENT)
    assert [(line.term, line.of) for line in lines] == [("too_dark", DARK)]
    assert on("own_terms:too_dark=2").weight_of("too_dark") == 2
    assert chosen(on(), Phase.ENHANCEMENT) == []


def test_a_term_alone_is_what_the_enhancer_learns_by(module) -> None:
    module("own_terms", TERMS_OF_ONES_OWN)
    told = Told()
    schedule = {**ONLY_ENHANCEMENT, "enhancement": {"steps": 20}, "rounds": 1}
    objective = {**NO_OTHERS, "own": ("own_terms:too_dark=3",)}
    tiny_train(tiny_settings(objective=objective, schedule=schedule, optimiser={"enhancer_lr": 1e-2}), told=told)
    values = [step.metrics["term/too_dark"] for step in told.steps]
    assert values[-1] < 0.8 * values[0]
    assert told.losses() == pytest.approx([3 * each for each in values])


def test_a_line_of_restored_pictures_is_computed_without_the_term_of_ours(module) -> None:
    module("own_terms", TERMS_OF_ONES_OWN)
    objective = {**NO_OTHERS, "own": ("own_terms:restored=1",)}
    assert needed(on("own_terms:restored=1"), Phase.ENHANCEMENT) == {WELL_LIT}
    told = Told()
    tiny_train(tiny_settings(objective=objective, schedule={**ONLY_ENHANCEMENT, "rounds": 1}), told=told)
    assert all(step.metrics["term/restored"] > 0 for step in told.steps)
    (line,) = chosen(on("own_terms:restored=1"), Phase.ENHANCEMENT)
    assert line.of == MIS_EXPOSED


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ("number", "own_terms:number is no term; give a function of a Sight, or a Line"),
        ("of_nothing", "own_terms:of_nothing: nothing computes terms of dark pictures in denoising"),
        ("in_vain", "own_terms:in_vain: there is no well_lit in enhancement"),
        ("judging", "own_terms:judging: only objective.guidance asks what guides"),
        (
            "denoised",
            "denoised acts nowhere, for its phase, denoising, is skipped because schedule.denoising.steps is 0",
        ),
        ("of_each", "own_terms:of_each must give one number, a tensor without dimensions"),
        ("absent", "has no absent; correct the name"),
    ],
)
def test_a_term_that_would_not_be_computed_is_an_error_and_never_silence(module, own: str, reason: str) -> None:
    module("own_terms", TERMS_OF_ONES_OWN)
    objective = {**NO_OTHERS, "colour": {"weight": 1}, "own": (f"own_terms:{own}=1",)}
    with pytest.raises(OwnCodeError, match=f"^objective.own: .*{re.escape(reason)}"):
        tiny_train(tiny_settings(objective=objective, schedule={**ONLY_ENHANCEMENT, "rounds": 1}))


def test_an_enhancement_without_a_term_is_an_error(module) -> None:
    module("own_terms", TERMS_OF_ONES_OWN)
    objective = {**NO_OTHERS, "reconstruction": {"weight": 1}, "own": ("own_terms:copied=1",)}
    schedule = {"prompt_init": {"steps": 0}, "rounds": 1}
    with pytest.raises(OwnCodeError, match="no term with weight is computed while enhancing"):
        tiny_train(tiny_settings(objective=objective, schedule=schedule))


def test_a_line_of_the_copying_phase_is_computed_beside_ours(module) -> None:
    module("own_terms", TERMS_OF_ONES_OWN)
    told = Told()
    tiny_train(tiny_settings(objective={"own": ("own_terms:copied=1",)}, schedule={"rounds": 1}), told=told)
    assert {step.phase for step in told.steps if "term/copied" in step.metrics} == {Phase.RECONSTRUCTION}


def test_every_phase_and_kind_of_picture_of_our_terms_is_open_to_ones_own() -> None:
    assert {(line.phase, line.of) for line in TERMS} == {
        *((phase, DARK) for phase in ("enhancement", "reconstruction", "refinement", "prompt_init")),
        *((phase, MIS_EXPOSED) for phase in ("enhancement", "denoising")),
    }


def test_own_terms_are_read_from_a_file_and_written_back(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("init_from: ''\nobjective.own: [a.b:c=1e-2, d:e=3]\n")
    loaded = load_settings(["--config", str(file)]).settings
    assert loaded.objective.own == ("a.b:c=1e-2", "d:e=3") and loaded.objective.own_weights == {"a.b:c": 0.01, "d:e": 3}
    file.write_text(to_yaml(loaded))
    assert load_settings(["--config", str(file)]).settings == loaded


# --- optimisers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "NAdam", "RAdam", "Adagrad", "Adafactor"])
def test_a_training_goes_on_with_what_the_optimiser_knew(name: str, tmp_path: Path) -> None:
    settings = tiny_settings(
        enhancer=NO_COPY,
        optimiser={"name": f"torch.optim:{name}"},
        schedule={
            "prompt_init": {"steps": 2},
            "reconstruction": {"steps": 0},
            "enhancement": {"steps": 4},
            "rounds": 1,
        },
    )
    whole, before, after = Told(), Told(tmp_path, stop_at=4), Told()
    tiny_train(settings, told=whole)
    tiny_train(settings, told=before)
    tiny_train(settings, told=after, resume=newest(tmp_path))
    assert before.losses() + after.losses() == whole.losses()


def test_a_class_of_ones_own_optimises_and_is_resumed(module, tmp_path: Path) -> None:
    module("own_optimisers", OPTIMISERS)
    optimiser = {"name": "own_optimisers:Momentum"}
    schedule = {"prompt_init": {"steps": 2}, "reconstruction": {"steps": 0}, "enhancement": {"steps": 4}, "rounds": 1}
    settings = tiny_settings(enhancer=NO_COPY, optimiser=optimiser, schedule=schedule)
    whole, before, after = Told(), Told(tmp_path / "checkpoints", stop_at=4), Told()
    tiny_train(settings, told=whole)
    tiny_train(settings, told=before)
    assert any(name.endswith("/momentum_buffer") for name in newest(tmp_path / "checkpoints").part("enhancer_adam"))
    tiny_train(settings, told=after, resume=newest(tmp_path / "checkpoints"))
    assert before.losses() + after.losses() == whole.losses()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("torch.optim:LBFGS", "cannot be used (LBFGS.__init__() got an unexpected keyword argument 'weight_decay')"),
        ("torch.optim:Rprop", "cannot be used (Rprop.__init__() got an unexpected"),
        ("torch.nn:Linear", "is no torch.optim.Optimizer"),
        ("own_optimisers:Counting", "keeps what a checkpoint cannot hold (count); take one whose state is tensors"),
        ("own_optimisers:Growing", "keeps what a checkpoint cannot hold (numbers beside its weights')"),
        ("own_optimisers:Absent", ""),
    ],
)
def test_an_optimiser_that_cannot_be_resumed_is_refused_in_one_sentence(module, path: str, reason: str) -> None:
    module("own_optimisers", OPTIMISERS)
    with pytest.raises(OwnCodeError, match=f"^optimiser.name: .*{re.escape(reason)}") as refused:
        optimiser_class(path)
    assert "\n" not in str(refused.value)


def rates(told: Told) -> list[float]:
    return [step.metrics["lr/enhancer"] for step in told.steps]


def test_the_enhancer_s_rate_rises_from_0_over_its_first_steps_and_after_a_resume_goes_on_rising(
    tmp_path: Path,
) -> None:
    settings = tiny_settings(optimiser={"warmup_steps": 5})
    whole, before, after = Told(), Told(tmp_path, stop_at=7), Told()
    tiny_train(settings, told=whole)
    phases = [step.phase for step in whole.steps]
    learning = [rate for rate, phase in zip(rates(whole), phases, strict=True) if not phase.trains_prompts]
    assert learning[:7] == pytest.approx([0.2e-3, 0.4e-3, 0.6e-3, 0.8e-3, 1e-3, 1e-3, 1e-3])
    assert {step.metrics["lr/prompts"] for step in whole.steps} == {1e-3}
    tiny_train(settings, told=before)
    tiny_train(settings, told=after, resume=newest(tmp_path))
    assert rates(before) + rates(after) == rates(whole)
    assert before.losses() + after.losses() == whole.losses()


def test_without_warm_up_the_rate_is_whole_from_the_first_step() -> None:
    told = Told()
    tiny_train(tiny_settings(schedule={"rounds": 1}), told=told)
    assert set(rates(told)) == {1e-3}
    assert OptimiserSettings().warmup_steps == 0 and OptimiserSettings().name == "torch.optim:Adam"
