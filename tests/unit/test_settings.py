"""Settings come from defaults, preset, file and command line, and every mistake is one sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.config.help import as_tables
from pipelines.config.jobs import JOBS
from pipelines.config.loading import Loaded, load_settings, to_yaml, with_run_name
from pipelines.config.presets import PRESETS
from pipelines.config.text import DEFAULTS, GROUPS, RUN, SETTINGS, flat, nested
from pipelines.config.train import RunSettings

FOLDERS = ["--data.dark", "photos/dark", "--data.well_lit", "photos/good"]
DETAIL = ("--objective.restoration.detail", "1")
ALL_PRESETS = sorted(file.stem for file in PRESETS.glob("*.yaml"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def mistake(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The sentence that the loader ends with."""
    with pytest.raises(SystemExit) as end:
        load_settings(argv)
    printed = capsys.readouterr()
    assert end.value.code == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1, f"more than one line: {printed.err}"
    return printed.err.strip()


# --- precedence -------------------------------------------------------------------------------------------------------


def test_without_arguments_the_quickstart_is_loaded() -> None:
    loaded = load_settings([])
    assert loaded.preset == "quickstart"
    assert loaded.settings.data.samples
    assert loaded.settings.enhancer.arch == "scene" and loaded.settings.init_from == "bundled"
    assert loaded.warnings == []


@pytest.mark.parametrize("name", ALL_PRESETS)
def test_every_preset_loads_without_a_warning(name: str) -> None:
    loaded = load_settings(["--preset", name, *FOLDERS])
    assert loaded.preset == name
    assert loaded.warnings == []
    assert f"preset {name}" in loaded.sources.values()


def test_clip_lit_is_the_paper() -> None:
    settings = load_settings(["--preset", "clip_lit", *FOLDERS]).settings
    assert (settings.prior.model, settings.prior.pretrained) == ("ViT-B-32-quickgelu", "openai")
    assert settings.prior.identity == ("RN101-quickgelu", "openai")
    assert (settings.optimiser.enhancer_lr, settings.optimiser.prompt_lr) == (2e-5, 5e-6)
    assert (settings.schedule.prompt_init.steps, settings.schedule.enhancement.steps) == (8000, 2100)


def test_the_command_line_beats_the_file_beats_the_preset_beats_the_default(config: Path) -> None:
    config.write_text("data:\n  image_size: 96\n  prompt_size: 96\n", encoding="utf-8")
    loaded = load_settings(["--config", str(config), "--data.prompt_size", "64"])
    assert loaded.settings.data.max_pixels == DEFAULTS["data.max_pixels"]
    assert loaded.settings.schedule.rounds == 2
    assert loaded.settings.data.image_size == 96
    assert loaded.settings.data.prompt_size == 64
    assert loaded.sources["data.max_pixels"] == "default"
    assert loaded.sources["schedule.rounds"] == "preset quickstart"
    assert loaded.sources["data.image_size"] == f"file {config}"
    assert loaded.sources["data.prompt_size"] == "command line"
    assert set(loaded.sources) == set(SETTINGS)


def test_a_value_given_equal_to_the_default_still_names_its_giver() -> None:
    assert load_settings(["--seed", "0"]).sources["seed"] == "command line"


def test_setting_one_leaf_keeps_its_neighbours_at_the_default_of_their_place(config: Path) -> None:
    config.write_text("objective.identity.weight: 10\n", encoding="utf-8")
    identity = load_settings(["--config", str(config)]).settings.objective.identity
    assert identity.weight == 10
    assert identity.layers == (1.0, 1.0, 1.0, 1.0, 0.5)


def test_a_preset_may_be_a_file(config: Path) -> None:
    config.write_text("data.samples: true\nseed: 7\n", encoding="utf-8")
    loaded = load_settings(["--preset", str(config)])
    assert (loaded.preset, loaded.settings.seed, loaded.settings.enhancer.arch) == ("mine", 7, "retinex")


def test_prior_bundled_replaces_all_towers_of_the_preset() -> None:
    settings = load_settings(["--preset", "clip_lit", "--prior", "bundled", *FOLDERS]).settings
    assert (settings.prior.model, settings.prior.pretrained) == ("bundled", "")
    assert settings.prior.identity == ("bundled", "")
    hybrid = load_settings(["--preset", "hybrid", *FOLDERS]).settings.objective
    assert settings.objective.identity.weight == hybrid.identity.weight, "its features have another scale"
    assert settings.objective.reconstruction.weight == hybrid.reconstruction.weight


# --- spellings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "path", "value"),
    [
        (["--optimiser.enhancer_lr", "1e-4"], "optimiser.enhancer_lr", 1e-4),
        (["--optimiser.enhancer-lr=1e-4"], "optimiser.enhancer_lr", 1e-4),
        (["--augment.zoom_range", "0.8", "1.2"], "augment.zoom_range", (0.8, 1.2)),
        (["--tracking.register_model", "False"], "tracking.register_model", False),
        (["--no-tracking.register_model"], "tracking.register_model", False),
        (["--no-tracking.register-model"], "tracking.register_model", False),
        (["--tracking.register_model"], "tracking.register_model", True),
        (["--scaling.gpu", "false"], "scaling.gpu", "false"),
        (["--name", "2026-11-22"], "name", "2026-11-22"),
        (["--tracking.experiment=--"], "tracking.experiment", "--"),
        (["--data.pairs_dark", "", "--data.pairs_truth", ""], "data.pairs_dark", ""),
    ],
)
def test_command_line_spellings(argv: list[str], path: str, value: object) -> None:
    assert flat(load_settings(argv).settings.model_dump())[path] == value


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("optimiser: {enhancer_lr: 1e-4}", "optimiser.enhancer_lr", 1e-4),  # YAML 1.1 alone reads 1e-4 as text
        ("scaling.gpu: true", "scaling.gpu", "true"),
        ("augment:\n  zoom_range: [0.8, 1.2]", "augment.zoom_range", (0.8, 1.2)),
        ("name: 20261122", "name", "20261122"),
        ("schedule.prompt_init: {steps: 9}", "schedule.prompt_init.steps", 9),
        ("data:\nseed: 3", "seed", 3),  # everything below data commented out
    ],
)
def test_yaml_spellings(config: Path, text: str, path: str, value: object) -> None:
    config.write_text(text, encoding="utf-8")
    assert flat(load_settings(["--config", str(config)]).settings.model_dump())[path] == value


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--data.drak", "x"], "--data.drak: no such setting; did you mean --data.dark?"),
        (["--data.drak=x"], "--data.drak: no such setting; did you mean --data.dark?"),
        (["--image_size", "64"], "--image_size: no such setting; did you mean --data.image_size?"),
        (["--xyzzy", "1"], "--xyzzy: no such setting; --help all lists them"),
        (
            ["--enhancer", "compact"],
            "--enhancer: a group, not a setting; it holds arch, padding, thumbnail_size",
        ),
        (["clip_lit"], "clip_lit: not an option; settings are given as --path value"),
        (["--seed"], "--seed: expected one argument"),
        (["--seed", "many"], "seed: many is not allowed; give a whole number from 0 to 2147483647"),
        (["--scaling.workers", "0"], "scaling.workers: 0 is not allowed; give a whole number from 1 to 4096"),
        (["--optimiser.enhancer_lr", "nan"], "optimiser.enhancer_lr: nan is not allowed; give a number of more than 0"),
        (["--objective.guidance.weight", "inf"], "objective.guidance.weight: inf is not allowed; give a number of at"),
        (
            ["--enhancer.arch", "retinx"],
            "enhancer.arch: retinx is not allowed; did you mean retinex? Give",
        ),
        (["--data.samples", "perhaps"], "data.samples: perhaps is not allowed; give true or false"),
        (["--augment.zoom_range", "1"], "augment.zoom_range: ['1'] is not allowed; give 2 numbers"),
        (["--augment.zoom_range", "2", "1"], "augment.zoom_range: (2.0, 1.0) runs downwards; write the smaller number"),
        (["--data.crop_side", "0", "1"], "data.crop_side: (0.0, 1.0) begins at or below 0; give numbers above 0"),
        (["--data.crop_side", "0.5", "2"], "data.crop_side: (0.5, 2.0) ends above 1; give parts of at most 1"),
        (["--curves.backlit.cover", "0.5", "2"], "curves.backlit.cover: (0.5, 2.0) ends above 1; give parts of at"),
        (
            ["--enhancer.denoise", "6"],
            "enhancer.denoise: 6 is not allowed; give a whole number from 0 to 256, a multiple of 4",
        ),
        (["--runs", ""], "runs: '' is not allowed; give text, not empty"),
        (["--name", "a/b"], "name: a/b is not allowed; give text matching"),
        (["--name", "a\nb"], "name: a b is not allowed; give text matching"),
        (["--preset", "clip-lit"], "--preset clip-lit: no such preset; did you mean clip_lit? There are"),
        (["--preset", "zzz"], "--preset zzz: no such preset; choose from"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--prior", "openai"], "--prior openai: only `bundled` has this short form; name other models with --prior."),
        (["--preset", "clip_lit"], "data.dark and data.well_lit: name two folders of photos, or pass --data.samples"),
        (["--data.dark", "x"], "data.well_lit: missing beside data.dark; training needs both sets"),
        (["--data.dark", "x", "--data.well_lit", "x"], "data.dark and data.well_lit: both name x; the two must"),
        (["--resume"], "resume: say which run to continue with --name"),
        (["--scaling.workers", "3"], "batch.enhancement: 8 pictures cannot be shared equally by 3 workers"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(
    capsys: pytest.CaptureFixture[str], argv: list[str], sentence: str
) -> None:
    assert mistake(capsys, *argv).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("data:\n  drak: x", "data.drak: no such setting; did you mean data.dark?"),
        ("data.drak: x", "data.drak: no such setting; did you mean data.dark?"),
        ("seed: -1", "seed: -1 is not allowed; give a whole number from 0 to 2147483647"),
        ("seed:", "seed: '' is not allowed; give a whole number from 0 to 2147483647"),
        ("seed: 1\nseed: 2", "line 2: seed is given twice; keep one"),
        ("data: {image_size: 64}\ndata.image_size: 96", "data.image_size is given twice; keep one"),
        ("prior: bundled", "prior: a group; put its settings below it, indented"),
        ("seed: {start: 1}", "seed: has settings below it; give a whole number"),
        ("seed: [1, 2]", "seed: ['1', '2'] is not allowed; give a whole number"),
        ("just words", "holds no settings; write them as `path: value`, one a line"),
        ("seed: [1", "not valid YAML ("),
        ("? [a, b]\n: 1", "not valid YAML ("),
        ("seed: &a [*a]", "line 1: *a: write out what it stands for"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence_with_the_files_name(
    capsys: pytest.CaptureFixture[str], config: Path, text: str, sentence: str
) -> None:
    config.write_text(text, encoding="utf-8")
    assert mistake(capsys, "--config", str(config)).startswith(f"{config}: {sentence}")


def test_a_file_that_is_no_text_is_one_sentence(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    config.write_bytes(b"\xff\xd8\xff\xe0")
    assert mistake(capsys, "--config", str(config)) == f"{config}: not a text file; save it as UTF-8"


def test_yaml_tags_run_nothing(config: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    config.write_text(f"name: !!python/object/apply:os.mkdir [{made}]\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        load_settings(["--config", str(config)])
    assert not made.exists()


# --- settings without effect ------------------------------------------------------------------------------------------


def test_a_setting_without_effect_warns(capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load_settings(["--enhancer.padding", "reflect"])
    assert loaded.warnings == [
        "enhancer.padding (command line) has no effect while enhancer.arch is scene; "
        "set enhancer.arch=retinex, or leave it out"
    ]
    assert capsys.readouterr().err == f"warning: {loaded.warnings[0]}\n"


def test_the_same_setting_is_silent_where_it_works() -> None:
    assert load_settings(["--enhancer.padding", "reflect", "--enhancer.arch", "retinex"]).warnings == []


def test_a_negated_need_warns_with_numbers_in_any_spelling() -> None:
    (warning,) = load_settings(["--augment.zoom_range", "0.9", "1.1", "--augment.zoom", "0.0"]).warnings
    assert warning.endswith(
        "has no effect while augment.zoom is 0.0; set augment.zoom to something other than 0, or leave it out"
    )


def test_a_presets_setting_warns_only_after_the_user_made_it_useless(config: Path) -> None:
    config.write_text("data.samples: true\nenhancer: {arch: compact, width: 16}\n", encoding="utf-8")
    assert load_settings(["--preset", str(config)]).warnings == []
    (warning,) = load_settings(["--preset", str(config), "--enhancer.arch", "retinex"]).warnings
    assert warning.startswith("enhancer.width (preset mine) has no effect while enhancer.arch is retinex")


@pytest.mark.parametrize("kind", ["compact", "bilateral"])
def test_a_need_with_alternatives_is_met_by_each(kind: str) -> None:
    assert load_settings(["--enhancer.arch", kind, "--enhancer.thumbnail_size", "64"]).warnings == []


def test_a_need_with_alternatives_names_them_all_where_none_is_met() -> None:
    (warning,) = [
        each
        for each in load_settings(["--enhancer.arch", "curves", "--enhancer.thumbnail_size", "64"]).warnings
        if "thumbnail_size" in each
    ]
    assert warning == (
        "enhancer.thumbnail_size (command line) has no effect while enhancer.arch is curves; "
        "set enhancer.arch=compact or bilateral or exposure or haze, or leave it out"
    )


def test_every_need_names_a_setting_and_a_value_it_accepts() -> None:
    for path, info in SETTINGS.items():
        if isinstance(info.json_schema_extra, dict) and "needs" in info.json_schema_extra:
            other, wanted = re.split("!?=", str(info.json_schema_extra["needs"]), maxsplit=1)
            assert other in SETTINGS, path
            choices = getattr(SETTINGS[other].annotation, "__args__", None)
            assert choices is None or set(wanted.split("|")) <= set(choices), path


# --- pages ------------------------------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as end:
        load_settings(argv)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_dry_run_shows_every_value_and_where_it_came_from(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, "--dry-run", "--seed", "3")
    assert len(re.findall(r"  # (?:default|preset quickstart|command line)$", page, flags=re.M)) == len(SETTINGS)
    assert re.search(r"^seed: 3 +# command line$", page, flags=re.M)
    assert re.search(r"^enhancer:\n  arch: scene +# preset quickstart\n  padding: zeros +# default$", page, flags=re.M)


def test_the_dry_run_can_be_given_back_as_a_file(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    argv = ["--preset", "clip_lit", *FOLDERS, "--augment.zoom_range", "0.8", "1.25"]
    config.write_text(printed(capsys, *argv, "--dry-run"), encoding="utf-8")
    assert load_settings(["--config", str(config)]).settings == load_settings(argv).settings


def test_help_all_lists_every_setting_with_the_presets_value(capsys: pytest.CaptureFixture[str]) -> None:
    page = " ".join(printed(capsys, "--help", "all", "--preset", "clip_lit").split())
    for path, info in SETTINGS.items():
        assert f" --{path} " in f" {page}"
        assert " ".join(str(info.description).split()) in page
    assert "[paper: ViT-B-32-quickgelu] now ViT-B-32-quickgelu (preset clip_lit); accepts text" in page


def test_help_answers_in_a_fresh_process_without_torch(repository: Path) -> None:
    code = (
        "import sys\n"
        "from pipelines.config.loading import load_settings\n"
        "try:\n    load_settings(['--help'])\n"
        "finally:\n    print([m for m in ('torch', 'ray', 'mlflow') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "--data.*" in done.stdout


def test_the_documented_table_is_current(repository: Path) -> None:
    documented = (repository / "docs" / "all_settings.md").read_text(encoding="utf-8")
    assert documented == as_tables(JOBS), "renew it: python -m pipelines.config.loading > docs/all_settings.md"


# --- round trips ------------------------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
choices = {
    "name": st.from_regex(r"[A-Za-z0-9._-]{0,100}", fullmatch=True),
    "runs": text.filter(bool),
    "tracking.uri": text,
    "tracking.experiment": text.filter(bool),
    "cluster.address": text,
    "seed": st.integers(0, 2**31 - 1),
    "data.image_size": st.integers(32, 4096),
    "augment.flip": st.floats(0, 1),
    "augment.zoom_range": st.tuples(st.floats(1e-6, 1), st.floats(1, 1e6)),
    "objective.guidance.weight": st.floats(0, allow_infinity=False, allow_nan=False),
    "objective.identity.layers": st.tuples(*[st.floats(0, 10)] * 5).filter(any),
    "optimiser.enhancer_lr": st.floats(0, 1, exclude_min=True),
    "tracking.register_model": st.booleans(),
    "scaling.gpu": st.sampled_from(["auto", "true", "false"]),
    "enhancer.arch": st.sampled_from(["retinex", "curves", "compact", "bilateral"]),
}
overrides = st.fixed_dictionaries({}, optional=choices)


def loaded_with(values: dict[str, object]) -> RunSettings:
    return RunSettings.model_validate(nested({**DEFAULTS, "data.samples": True, **values}))


@given(overrides)
@hypothesis_settings(max_examples=50)
def test_any_settings_come_back_from_their_yaml(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    settings = loaded_with(values)
    file = tmp_path_factory.getbasetemp() / "settings.yaml"
    file.write_text(to_yaml(settings), encoding="utf-8", newline="")
    assert load_settings(["--config", str(file)]).settings == settings


@given(overrides)
@hypothesis_settings(max_examples=50)
def test_any_settings_can_be_given_on_the_command_line(values: dict[str, object]) -> None:
    # One argument each, with "=": a bare value that begins with a dash would be an option.
    argv = [f"--{path}={value}" for path, value in values.items() if not isinstance(value, tuple)]
    for path, value in values.items():
        if isinstance(value, tuple):
            argv += [f"--{path}", *map(str, value)]
    given_settings = flat(load_settings(argv).settings.model_dump())
    assert {path: given_settings[path] for path in values} == values


# --- the run's name ---------------------------------------------------------------------------------------------------


def test_a_run_without_a_name_gets_preset_and_time() -> None:
    assert re.fullmatch(r"quickstart-\d{8}-\d{6}", with_run_name(load_settings([])).settings.name)


def test_a_given_name_stays() -> None:
    assert with_run_name(load_settings(["--name", "mine"])).settings.name == "mine"


def test_a_presets_file_name_is_made_fit_for_a_run_name() -> None:
    base = load_settings([])
    named = with_run_name(Loaded(base.settings, "my première/" + "x" * 200, base.sources))
    assert RunSettings.model_validate(named.settings.model_dump()).name.startswith("my-premi-re-xxx")


# --- weights that act nowhere -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "path", "why"),
    [
        (
            ["--objective.reconstruction.weight", "5", "--schedule.reconstruction.steps", "0"],
            "objective.reconstruction.weight",
            "schedule.reconstruction.steps is 0",
        ),
        (
            ["--objective.reconstruction.weight", "25", "--schedule.reconstruction.steps", "0"],  # the default, given
            "objective.reconstruction.weight",
            "schedule.reconstruction.steps is 0",
        ),
        (["--objective.rank.weight", "9", "--schedule.rounds", "1"], "objective.rank.weight", "schedule.rounds is 1"),
        (
            ["--objective.rank.weight", "9", "--schedule.refinement.steps", "0"],
            "objective.rank.weight",
            "schedule.refinement.steps is 0",
        ),
        (
            ["--objective.rank.weight", "9", "--objective.guidance.weight", "0"],
            "objective.rank.weight",
            "objective.guidance.weight is 0",
        ),
        (
            ["--objective.rank.weight", "9", "--prior.guidance", "residual"],
            "objective.rank.weight",
            "prior.guidance is residual",
        ),
        (
            ["--objective.restoration.denoising_structure", "1"],
            "objective.restoration.denoising_structure",
            "schedule.denoising.steps is 0",
        ),
        (
            [
                *("--objective.restoration.denoising_structure", "1", "--enhancer.arch", "compact"),
                *("--schedule.denoising.steps", "9"),
            ],
            "objective.restoration.denoising_structure",
            "enhancer.arch compact has no denoiser",
        ),
        (["--preset", "hybrid", *FOLDERS, *DETAIL], "objective.restoration.detail", "restoration.weight is 0"),
        (["--objective.restoration.weight", "0", *DETAIL], "objective.restoration.detail", "restoration.weight is 0"),
    ],
)
def test_a_weight_that_acts_nowhere_is_refused_by_its_name(
    capsys: pytest.CaptureFixture[str], argv: list[str], path: str, why: str
) -> None:
    said = mistake(capsys, *argv)
    assert said.startswith(f"{path}: acts nowhere, for ") and why in said and said.endswith(f"or give {path} 0")


def test_layers_that_are_all_zero_leave_their_weight_without_effect(capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, "--objective.identity.layers", "0", "0", "0", "0", "0")
    assert said.startswith("objective.identity.layers: all are 0, so objective.identity.weight (0.3) acts nowhere")


def test_guidance_without_a_step_of_enhancement_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, "--schedule.enhancement.steps", "0")
    assert said == "schedule.enhancement.steps: 0 is not allowed; give a whole number of at least 1"


def test_a_presets_weight_whose_phase_was_taken_away_is_0_and_said_so(config: Path) -> None:
    loaded = load_settings(["--preset", "hybrid", *FOLDERS, "--schedule.reconstruction.steps", "0"])
    assert loaded.settings.objective.reconstruction.weight == 0
    assert loaded.warnings == [
        "objective.reconstruction.weight (preset hybrid) is taken as 0, for its phase, reconstruction, is skipped "
        "because schedule.reconstruction.steps is 0"
    ]
    config.write_text(to_yaml(loaded.settings))
    again = load_settings(["--config", str(config)])
    assert again.settings == loaded.settings and again.warnings == []


def test_the_prior_of_the_package_brings_no_weight_for_a_phase_that_is_not_there() -> None:
    loaded = load_settings(["--preset", "pie", "--prior", "bundled", *FOLDERS])
    assert loaded.settings.objective.reconstruction.weight == 0 and "(--prior bundled)" in loaded.warnings[0]


def test_a_file_that_asks_for_a_weight_that_acts_nowhere_is_named(
    capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    config.write_text("objective.rank.weight: 9\nschedule.rounds: 1\n")
    assert mistake(capsys, "--config", str(config)).startswith(f"{config}: objective.rank.weight: acts nowhere")


@pytest.mark.parametrize("name", ALL_PRESETS)
def test_the_settings_of_every_preset_can_be_given_again_as_a_file(name: str, config: Path) -> None:
    loaded = load_settings(["--preset", name, *FOLDERS])
    config.write_text(to_yaml(loaded.settings))
    again = load_settings(["--preset", name, "--config", str(config)])
    assert again.settings == loaded.settings and again.warnings == []


def test_settings_in_code_obey_the_same_rule() -> None:
    with pytest.raises(ValidationError, match="objective.rank.weight: acts nowhere"):
        RunSettings(data={"samples": True}, objective={"rank": {"weight": 7}}, schedule={"rounds": 1})


def test_a_phase_that_is_asked_for_and_skipped_is_warned_of() -> None:
    compact = ["--preset", "hybrid", *FOLDERS]
    (warning,) = load_settings([*compact, "--schedule.denoising.steps", "10"]).warnings
    assert warning == (
        "schedule.denoising.steps (command line) has no effect while enhancer.arch compact has no denoiser; change "
        "that, or leave it out"
    )


def test_what_rests_is_a_part_of_the_model_that_training_begins_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert load_settings([]).settings.resting == ("denoiser",)
    assert load_settings(["--init_from", ""]).settings.resting == (), "a fresh denoiser knows nothing yet"
    with pytest.raises(SystemExit):
        load_settings(["--schedule.denoising.steps", "5"])
    assert "rests: the denoiser is what the phase denoising teaches" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "suggested"),
    [
        ("--optimizer.lr", ["--optimiser.enhancer_lr", "--optimiser.prompt_lr"]),
        ("--lr", ["--optimiser.enhancer_lr", "--optimiser.prompt_lr"]),
        ("--optimizer", ["--optimiser.enhancer_lr"]),
        ("--objective.rank.wieght", ["--objective.rank.weight"]),
        ("--sedule.rounds", ["--schedule.rounds"]),
    ],
)
def test_what_is_suggested_is_a_setting(capsys: pytest.CaptureFixture[str], given: str, suggested: list[str]) -> None:
    said = mistake(capsys, given, "1")
    options = re.findall(r"--[\w.]+", said)[1:]
    assert options[: len(suggested)] == suggested
    assert all(option.removeprefix("--") in SETTINGS for option in options)


@given(st.text("abcdefgiloprstuz_.", min_size=1, max_size=25))
def test_whatever_is_mistyped_only_settings_are_suggested(path: str) -> None:
    if path not in SETTINGS and path not in GROUPS:
        said = RUN.no_such_setting(path, "--").removeprefix(f"--{path}: no such setting; ")
        options = re.findall(r"--[\w.]*\w", said)
        assert options == ["--help"] or all(option.removeprefix("--") in SETTINGS for option in options)
