"""All jobs speak alike: the same names for the same things, former names with a warning, help and differences."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lle.config.fields import Settings
from pipelines import (
    compare,
    demo,
    enhance,
    evaluate,
    export,
    prepare,
    pretrain_prior,
    promote,
    serve,
    train,
    tune,
    vote,
)
from pipelines.config.jobs import JOBS
from pipelines.config.loading import load, load_settings, of_a_run
from pipelines.config.presets import PRESETS
from pipelines.config.text import RUN, flat, tree_of
from pipelines.models.resolve import find_model
from pipelines.training.resuming import remembered
from pipelines.tuning.search_space import prepared, read_search

MAINS = {
    "train": train, "tune": tune, "evaluate": evaluate, "promote": promote, "enhance": enhance, "prepare": prepare,
    "export": export, "demo": demo, "pretrain_prior": pretrain_prior, "compare": compare, "vote": vote,
    "serve": serve,
}  # fmt: skip
FOLDERS = ["--data.dark", "photos/dark", "--data.well_lit", "photos/good"]
NEEDED = {
    "train": [*FOLDERS, "--data.pairs_dark", "d", "--data.pairs_truth", "t"],
    "tune": [*FOLDERS, "--data.pairs_dark", "d", "--data.pairs_truth", "t"],
    "evaluate": ["--model", "m", "--output", "o", "--data.dark", "d", "--data.truth", "t"],
    "compare": ["--models", "m", "n", "--output", "o", "--data.dark", "d", "e", "--data.truth", "t"],
    "vote": ["--models", "m", "n", "--photos", "d"],
    "promote": ["--data.dark", "d", "--data.truth", "t", "--margin", "1"],
    "enhance": ["--model", "m", "--input", "i", "--output", "o"],
    "prepare": ["--input", "i", "--output", "o"],
    "export": ["--model", "m", "--output", "o"],
    "pretrain_prior": ["--output", "o"],
}
ALL_PRESETS = sorted(file.stem for file in PRESETS.glob("*.yaml"))


def printed(capsys: pytest.CaptureFixture[str], job: str, *argv: str) -> str:
    with pytest.raises(SystemExit) as end:
        MAINS[job].main(argv)
    told = capsys.readouterr()
    assert end.value.code == 0, told.err
    return told.out


def loaded(job: str, *argv: str) -> Settings:
    """The settings of a job."""
    return load(JOBS[job], "", argv, "quickstart" if job in ("train", "tune") else "").settings


# --- one grammar ------------------------------------------------------------------------------------------------------


def test_what_jobs_share_is_called_the_same_in_all():
    paths = {job: set(tree_of(model).settings) for job, model in JOBS.items() if job != "pretrain_prior"}
    for job, known in paths.items():
        assert not known & {"low", "high", "good", "out", "tracking", "experiment", "address"}, job
        assert job == "prepare" or "tracking.uri" in known
        assert job in ("export", "demo", "vote") or "cluster.address" in known


@pytest.mark.parametrize("job", JOBS)
def test_the_settings_of_every_job_can_be_given_as_a_file(job: str, tmp_path: Path, capsys):
    file = tmp_path / "mine.yaml"
    for page in ("--dry-run", "--print-diff"):
        file.write_text(printed(capsys, job, *NEEDED.get(job, []), page))
        assert loaded(job, "--config", str(file)) == loaded(job, *NEEDED.get(job, []))


# --- former names -----------------------------------------------------------------------------------------------------


FORMER = [(job, *names) for job, model in JOBS.items() for names in tree_of(model).renamed.items()]
VALUES = {
    "enhancer.arch": "retinex", "enhancer.thumbnail_size": "64", "optimiser.lr_schedule": "cosine",
    "loop.metric": "restored", "schedule.min_gap": "0.3", "data.max_pixels": "4096", "max_over_exposed": "0.3",
    "metric": "ssim", "max_colour_cast": "0.3", "max_changed": "0.3", "max_slower": "1.5", "min_unchanged": "1.5",
}  # fmt: skip


@pytest.mark.parametrize(("job", "old", "new"), FORMER)
def test_a_former_name_is_taken_with_a_warning_on_the_command_line_and_in_a_file(
    job: str, old: str, new: str, tmp_path: Path, capsys
):
    assert old not in tree_of(JOBS[job]).settings
    value, file, needed = VALUES.get(new, "elsewhere"), tmp_path / "mine.yaml", NEEDED.get(job, [])
    file.write_text(f"{old}: {value}\n")
    others = [word for pair in zip(needed[::2], needed[1::2], strict=True) if pair[0] != f"--{new}" for word in pair]
    for given, said in (
        ([f"--{old.replace('_', '-')}", value], f"--{old} is called --{new} now"),
        (["--config", str(file)], f"{file}: {old} is called {new} now"),
    ):
        values = flat(loaded(job, *others, *given).model_dump())
        assert str(values[new]) == value
        assert f"warning: {said}; the next version knows only that\n" in capsys.readouterr().err


def test_a_setting_under_both_names_is_given_twice(tmp_path: Path, capsys):
    (tmp_path / "mine.yaml").write_text("enhancer.kind: scene\nenhancer: {arch: compact}\n")
    with pytest.raises(SystemExit):
        load_settings(["--config", str(tmp_path / "mine.yaml")])
    assert "enhancer.arch is given twice; keep one" in capsys.readouterr().err


def test_a_search_takes_former_names(tmp_path: Path, capsys):
    (tmp_path / "s.yaml").write_text("optimiser: {decay: 'choice(none, cosine)'}\nenhancer.look: int(32, 64)\n")
    assert list(read_search(tmp_path / "s.yaml")) == ["optimiser.lr_schedule", "enhancer.thumbnail_size"]
    assert "optimiser.decay is called optimiser.lr_schedule now" in capsys.readouterr().err


def test_a_sweep_is_resumed_as_it_was_said_once(tmp_path: Path, capsys):
    for words in (["--resume", "night"], ["--resume=night"]):
        with pytest.raises(SystemExit) as end:
            tune.main([*words, "--runs", str(tmp_path)])
        told = capsys.readouterr().err
        assert end.value.code == 2 and f"{tmp_path / 'night'} holds no sweep" in told
        assert "--resume night is said --resume --name night now" in told


def whole(argv: list[str]) -> str:
    """The settings of a run as they were kept once: all of them, under their former names."""
    values = load_settings(argv).settings.model_dump(mode="json", exclude={"name", "resume"})
    text = yaml.safe_dump(values, sort_keys=False)
    for old, new in RUN.renamed.items():
        text = re.sub(rf"^(  ){new.rpartition('.')[2]}:", rf"\g<1>{old.rpartition('.')[2]}:", text, flags=re.M)
    assert "kind: " in text and "arch" not in text
    return text


def test_a_run_that_kept_all_settings_under_former_names_goes_on(tmp_path: Path):
    argv = ["--preset", "clip_lit", *FOLDERS, "--seed", "5", "--runs", str(tmp_path), "--name", "old"]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "settings.yaml").write_text(whole(argv))
    resumed = load_settings(["--resume", "--name", "old", "--runs", str(tmp_path)]).settings
    assert resumed == load_settings(argv).settings.model_copy(update={"resume": True})


# --- differences ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [*ALL_PRESETS, "none"])
def test_a_run_keeps_the_preset_and_what_differs_and_goes_on_exactly_so(preset: str, tmp_path: Path):
    argv = ["--preset", preset, *FOLDERS, "--seed", "5", "--curves.gamma.under", "2.5", "5", "--runs", str(tmp_path)]
    loaded = load_settings([*argv, "--name", "new"])
    kept = of_a_run(loaded.settings, loaded)
    named, _, seal = yaml.safe_load(kept)["preset"].partition("@")
    assert named == preset and len(seal) == 8
    assert yaml.safe_load(kept) == {
        "preset": f"{preset}@{seal}", "seed": 5, "data": {"dark": "photos/dark", "well_lit": "photos/good"},
        "curves": {"gamma": {"under": [2.5, 5.0]}}, "runs": str(tmp_path),
    }  # fmt: skip
    assert len(re.findall("  # command line$", kept, flags=re.M)) == 5
    file = tmp_path / "new" / "settings.yaml"
    file.parent.mkdir()
    file.write_text(kept)
    assert load_settings(["--config", str(file), "--name", "new"]).settings == loaded.settings
    again = load_settings(["--resume", "--name", "new", "--runs", str(tmp_path)]).settings
    assert again == loaded.settings.model_copy(update={"resume": True})


def test_a_run_whose_preset_has_changed_since_goes_on_with_a_warning(tmp_path: Path, capsys):
    (tmp_path / "kept.yaml").write_text(of_a_run(load_settings([]).settings, load_settings([])))
    assert load_settings(["--config", str(tmp_path / "kept.yaml")]) and not capsys.readouterr().err
    changed = re.sub("@.{8}", "@01234567", (tmp_path / "kept.yaml").read_text())
    (tmp_path / "kept.yaml").write_text(changed)
    assert load_settings(["--config", str(tmp_path / "kept.yaml")])
    assert "kept.yaml: the preset quickstart has changed since this was written" in capsys.readouterr().err


def test_a_weight_that_was_taken_as_0_stays_0(tmp_path: Path):
    argv = ["--preset", "hybrid", *FOLDERS, "--schedule.reconstruction.steps", "0", "--prior", "bundled"]
    loaded = load_settings(argv)
    (tmp_path / "kept.yaml").write_text(of_a_run(loaded.settings, loaded))
    again = load_settings(["--config", str(tmp_path / "kept.yaml")])
    assert again.settings == loaded.settings and again.warnings == []


def test_a_preset_of_ones_own_is_written_out_not_named(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("preset: pie\nloop.log_every: 7\n")
    loaded = load_settings(["--preset", str(tmp_path / "mine.yaml"), *FOLDERS])
    kept = of_a_run(loaded.settings, loaded)
    assert loaded.settings.objective == load_settings(["--preset", "pie", *FOLDERS]).settings.objective
    assert re.search("^preset: pie@", kept, flags=re.M) and re.search("log_every: 7 +# preset mine", kept)


def test_differences_go_over_their_own_preset_and_no_other(tmp_path: Path, capsys):
    (tmp_path / "mine.yaml").write_text("preset: pie\n")
    assert load_settings(["--config", str(tmp_path / "mine.yaml"), *FOLDERS]).preset == "pie"
    for words, told in (
        (["--preset", "hybrid"], "holds differences from the preset pie; leave --preset out"),
        (["--preset", "pie", "--seed", "x"], "seed: x is not allowed"),
    ):
        with pytest.raises(SystemExit):
            load_settings(["--config", str(tmp_path / "mine.yaml"), *FOLDERS, *words])
        assert told in capsys.readouterr().err
    (tmp_path / "mine.yaml").write_text("preset: pei\n")
    with pytest.raises(SystemExit):
        load_settings(["--config", str(tmp_path / "mine.yaml")])
    assert "mine.yaml: preset: no such preset; did you mean pie? There are adapt" in capsys.readouterr().err


def test_settings_that_were_cut_off_are_not_taken_for_a_run(tmp_path: Path, capsys):
    loaded = load_settings(["--seed", "5"])
    kept = of_a_run(loaded.settings, loaded)
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "settings.yaml").write_text(kept)
    assert remembered("night", str(tmp_path), "")
    (tmp_path / "night" / "settings.yaml").write_text(kept[: kept.index("seed")])
    with pytest.raises(SystemExit):
        load_settings(["--resume", "--name", "night", "--runs", str(tmp_path)])
    assert "settings.yaml: ends too early; mend it, or remove it" in capsys.readouterr().err


def test_a_sweep_shares_its_settings_with_its_trials():
    plan = prepared(["--trials", "7", "--seed", "3", "--name", "mine"])
    assert (plan.sweep.trials, plan.sweep.name, plan.training.settings.name) == (7, "mine", "")
    assert plan.training.settings == load_settings(["--seed", "3"]).settings


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", JOBS)
def test_help_fits_one_screen_and_names_everything_at_the_top(job: str, capsys):
    page = printed(capsys, job, "--help")
    assert page.count("\n") <= 45 and max(map(len, page.splitlines())) <= 100
    tree = tree_of(JOBS[job])
    for path in (*tree.settings, *tree.branches):
        if "." not in path:
            assert re.search(rf"^  --{path}[ .]", page, flags=re.M), path


def test_help_of_a_branch_says_what_each_setting_does_what_holds_and_what_it_accepts(capsys):
    page = printed(capsys, "train", "--help", "objective", "--preset", "clip_lit")
    assert max(map(len, page.splitlines())) <= 100
    for path in RUN.below("objective"):
        assert re.search(rf"^  --{path}( |$)", page, flags=re.M), path
    assert "objective.colour: Differences between the channel means. [PIE]" in page
    assert "now 320.0 (default); accepts a number of at least 0" in page
    assert "--data" not in page


@pytest.mark.parametrize("topic", ["data.dark", "data.max-pixels"])
def test_help_of_a_setting_is_about_it_alone(topic: str, capsys):
    assert printed(capsys, "evaluate", "--help", topic).count("  --") == 1


def test_help_about_nothing_there_suggests_what_is(capsys):
    with pytest.raises(SystemExit) as end:
        load_settings(["--help", "objectve"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "--help objectve: no such branch or setting; did you mean --help objective?\n"


def test_help_tells_presets_apart(capsys):
    page = printed(capsys, "tune", "--help", "presets")
    assert [line.split()[0] for line in page.splitlines()] == ALL_PRESETS


def test_a_baseline_is_found_under_its_former_name_with_a_warning(capsys):
    assert find_model("control:auto-gain", "").name == find_model("baseline:auto-gain", "").name
    assert capsys.readouterr().err.startswith("warning: model: control:auto-gain is called baseline:auto-gain now")
