"""Search spaces: what they may say, and that nothing starts when they cannot be searched."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import yaml

from pipelines.config.files import SettingsError
from pipelines.config.loading import load_settings, of_a_run, to_yaml
from pipelines.tuning.search_space import (
    SEARCHES,
    Distribution,
    check_search,
    prepared,
    read_search,
    remember,
    trial_settings,
)


def searched(folder: Path, text: str, *arguments: str):
    file = folder / "search.yaml"
    file.write_text(text)
    training = load_settings(arguments)
    search = read_search(file)
    check_search(search, training, file)
    return search, training


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("objective.guidence.weight: uniform(0, 1)", "no such setting; perhaps you meant objective.guidance.weight?"),
        ("objective: {guidance: {wieght: uniform(0, 1)}}", "perhaps you meant objective.guidance.weight?"),
        ("optimiser: uniform(0, 1)", "optimiser: a group, not a setting"),
        ("optimiser.enhancer_lr: loguniform(0.1, 30)", "optimiser.enhancer_lr: 30.0 is not allowed; give a number"),
        ("prior.over_exposed_share: uniform(-1, 0.5)", "-1.0 is not allowed"),
        (
            "enhancer.arch: choice(compact, bilatral)",
            "bilatral is not allowed; did you mean bilateral? Give one of retinex",
        ),
        ("schedule.rounds: uniform(1, 4)", "takes whole numbers, uniform draws others; write it like int(1, 4)"),
        ("schedule.rounds: int(1, 2.5)", "int takes two whole numbers"),
        ("schedule.rounds: 3", "3 is no distribution"),
        ("optimiser.enhancer_lr: __import__('os').system('true')", "no such distribution"),
        ("optimiser.enhancer_lr: logunifrom(1e-5, 1e-3)", "no such distribution; perhaps you meant loguniform?"),
        ("optimiser.enhancer_lr: loguniform(0, 1e-3)", "has no logarithm; use uniform"),
        ("optimiser.enhancer_lr: uniform(1e-3, 1e-4)", "is empty; write the smaller number first"),
        ("optimiser.enhancer_lr: uniform(1e-3, nan)", "is empty"),
        ("optimiser.enhancer_lr: uniform(1e-3)", "uniform takes two numbers"),
        ("enhancer.arch: choice(compact)", "leaves no choice"),
        ("enhancer.arch: uniform(0, 1)", "draws one number, which this setting is not"),
        ("curves.gamma.under: uniform(2, 5)", "search curves.gamma.under.0 instead"),
        ("curves.gamma.under.2: uniform(2, 5)", "no such part; curves.gamma.under has 2"),
        ("optimiser.enhancer_lr.0: uniform(2, 5)", "is one value, without parts"),
        ("objective.own.0: uniform(2, 5)", "objective.own is one value, without parts"),
        ("curves.gamma.under: choice([2, 5], [3, 6])\ncurves.gamma.under.0: uniform(2, 3)", "not both"),
        ("curves.gamma.under.0: uniform(2, 6)\ncurves.gamma.under.1: uniform(5, 9)", "runs downwards"),
        ("curves.gamma.under.0: uniform(2, 9)", "runs downwards"),
        ("scaling.workers: int(1, 4)", "must be the same for all trials"),
        ("data.dark: choice(a, b)", "must be the same for all trials"),
        ("", "searches nothing"),
        ("- uniform(0, 1)", "searches nothing"),
    ],
)
def test_one_sentence_says_what_cannot_be_searched(tmp_path: Path, text: str, sentence: str):
    with pytest.raises(SettingsError) as mistake:
        searched(tmp_path, text)
    assert sentence in str(mistake.value) and "search.yaml" in str(mistake.value)
    assert len(str(mistake.value).splitlines()) == 1


def test_the_prior_is_not_searched_where_it_measures(tmp_path: Path):
    text = "prior.model: choice(bundled, RN50)"
    assert searched(tmp_path, text, "--loop.metric", "restored")
    with pytest.raises(SettingsError, match="feature_gap is measured by this very model"):
        searched(tmp_path, text, "--loop.metric", "feature_gap")


def test_an_end_of_a_range_is_drawn_beside_the_other_one(tmp_path: Path):
    search, training = searched(tmp_path, "curves.gamma.under.0: uniform(2, 5)", "--curves.gamma.under", "4", "7")
    assert search["curves.gamma.under.0"] == Distribution("uniform", (2.0, 5.0))
    assert trial_settings({"curves.gamma.under.0": 2.5}, training, "x").settings.curves.gamma.under == (2.5, 7.0)
    both = {"curves.gamma.under.1": 9.0, "curves.gamma.under.0": 5.5}
    assert trial_settings(both, training, "x").settings.curves.gamma.under == (5.5, 9.0)


def test_choices_keep_their_types(tmp_path: Path):
    choices = (
        "curves.gamma.under: choice([2, 5], [3, 6])",
        "schedule.rounds: choice(1, 3)",
        "curves.adaptive: choice(true, false)",
    )
    search, training = searched(tmp_path, "\n".join(choices))
    drawn = {path: each.values[1] for path, each in search.items()}
    settings = trial_settings(drawn, training, "x").settings
    assert settings.curves.gamma.under == (3.0, 6.0) and settings.schedule.rounds == 3 and not settings.curves.adaptive


def test_what_does_not_go_together_is_refused_when_it_is_drawn(tmp_path: Path):
    _, training = searched(tmp_path, "batch.enhancement: int(2, 4)", "--scaling.workers", "1")
    with pytest.raises(SettingsError, match="cannot be shared equally"):
        trial_settings({"batch.enhancement": 3, "optimiser.accumulate": 2}, training, "x")


def test_a_searched_setting_without_effect_gets_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    searched(tmp_path, "enhancer.denoise: choice(0, 32)", "--enhancer.arch", "compact")
    assert capsys.readouterr().err.count("has no effect") == 1
    searched(tmp_path, "enhancer.denoise: choice(0, 32)\nenhancer.arch: choice(compact, bilateral)")
    assert capsys.readouterr().err == ""


def test_the_weights_of_several_sets_may_be_searched(tmp_path: Path):
    several = ("--data.dark", "night", "dusk", "--data.well_lit", "day")
    search, training = searched(tmp_path, "data.dark_weights: choice([1, 1], [3, 1])", *several)
    drawn = {"data.dark_weights": search["data.dark_weights"].values[1]}
    assert trial_settings(drawn, training, "x").settings.data.dark_weights == (3, 1)
    with pytest.raises(SettingsError, match="data.dark_weights: 1 weights, and 2 sets in data.dark"):
        searched(tmp_path, "data.dark_weights: choice([1, 1], [3])", *several)
    with pytest.raises(SettingsError, match="int draws one number, which this setting is not; write choice"):
        searched(tmp_path, "data.dark_weights: int(1, 3)", *several)


@pytest.mark.parametrize("file", sorted(SEARCHES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_searches_that_ship_may_be_searched(file: Path, capsys: pytest.CaptureFixture[str]):
    prepared(["--search", file.stem, "--preset", MEANT_FOR[file.stem], *PHOTOS])
    assert "no effect" not in capsys.readouterr().err


PHOTOS = ["--data.dark", "night", "--data.well_lit", "day"]
MEANT_FOR = {"light": "quickstart", "curves": "pie", "camera": "exposure"}


def test_a_sweep_is_remembered_whole(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("optimiser.enhancer_lr: loguniform(1e-5, 1e-3)\nenhancer.arch: choice(compact, bilateral)")
    begun = prepared(["--search", str(file), "--trials", "7", "--runs", str(tmp_path), "--seed", "3"])
    begun.folder.mkdir()
    remember(begun, of_a_run(begun.training.settings, begun.training))
    again = prepared(["--resume", "--name", begun.sweep.name, "--runs", str(tmp_path)])
    assert again.resume and again.folder == begun.folder
    assert (again.sweep, again.search, again.training.settings) == (begun.sweep, begun.search, begun.training.settings)


@pytest.fixture
def begun(tmp_path: Path):
    """A sweep of seven trials, called `mine`, that can be resumed."""
    file = tmp_path / "mine.yaml"
    file.write_text("optimiser.enhancer_lr: loguniform(1e-5, 1e-3)")
    settings = ["--runs", str(tmp_path), "--seed", "3", "--curves.gamma.under", "2", "5"]
    plan = prepared(["--search", str(file), "--trials", "7", "--name", "mine", *settings])
    plan.folder.mkdir()
    remember(plan, to_yaml(plan.training.settings))
    return plan


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--trials", "9"], "trials was 7 when mine began, and cannot become 9"),
        (["--concurrent", "2"], "concurrent was 0 when mine began, and cannot become 2"),
        (["--search", "light"], "search: light is not what mine searches"),
        (["--seed", "4"], "seed was 3 when mine began, and cannot become 4"),
        (["--curves.gamma.under", "2", "6"], "curves.gamma.under was [2.0, 5.0] when mine began"),
        (["--preset", "clip_lit", *PHOTOS], "when mine began, and cannot become"),
        (["--config", "{folder}/other.yaml"], "schedule.rounds was 2 when mine began, and cannot become 9"),
    ],
)
def test_a_resumed_sweep_refuses_what_differs(begun, arguments: list[str], told: str):
    folder = begun.folder.parent
    (folder / "other.yaml").write_text("schedule.rounds: 9")
    arguments = [each.format(folder=folder) for each in arguments]
    with pytest.raises(SettingsError) as refusal:
        prepared(["--resume", "--name", "mine", "--runs", str(folder), *arguments])
    assert str(refusal.value).startswith("--resume: ") and told in str(refusal.value)
    assert str(refusal.value).endswith("; leave that out, or begin another sweep")


def test_a_resumed_sweep_takes_the_command_it_began_with_on_another_cluster(begun, tmp_path: Path):
    again = ["--resume", "--search", begun.sweep.search, "--trials", "7", "--name", "mine"]
    same = ["--preset=quickstart", "--runs", str(tmp_path), "--seed", "3", "--curves.gamma.under", "2", "5"]
    plan = prepared([*again, *same, "--cluster.address", "10.0.0.7:6379"])
    settings = plan.training.settings
    assert settings.cluster.address == "10.0.0.7:6379" and plan.sweep == begun.sweep
    elsewhere = begun.training.settings.model_copy(update={"cluster": settings.cluster})
    assert settings == elsewhere


@pytest.mark.parametrize("option", ["--config", "--preset"])
def test_the_best_settings_are_a_file_that_train_takes(option: str, tmp_path: Path, capsys):
    search, training = searched(
        tmp_path, "curves.gamma.under.0: uniform(2, 5)\noptimiser.enhancer_lr: uniform(1e-5, 1)"
    )
    best = trial_settings({path: each.values[0] for path, each in search.items()}, training, "mine")
    file = tmp_path / "best.yaml"
    file.write_text("# best\n" + of_a_run(best.settings, best))
    assert load_settings([option, str(file)]).settings == best.settings
    with pytest.raises(SystemExit) as end:
        load_settings([option, str(file), "--dry-run"])
    assert end.value.code == 0 and capsys.readouterr().err == ""
    kept = yaml.safe_load(file.read_text())
    assert kept.pop("preset").startswith("quickstart@")
    assert kept == {"optimiser": {"enhancer_lr": 1e-5}, "curves": {"gamma": {"under": [2.0, 8.0]}}}


def test_importance_finds_the_setting_that_matters():
    from pipelines.tuning.report import Tried, study_of

    search = {"a": Distribution("uniform", (0.0, 1.0)), "b": Distribution("loguniform", (0.1, 10.0))}
    tried = [
        Tried(f"t-{i}", {"a": i / 40, "b": 10 ** (i * 7 % 40 / 20 - 1)}, "finished", 10 + 5 * i / 40) for i in range(40)
    ]
    tried.append(Tried("t-41", {"a": 0.5, "b": 1.0}, "failed", None, reason="no memory"))
    importance = optuna.importance.get_param_importances(study_of(search, tried, "psnr"))
    assert importance["a"] > 0.8
