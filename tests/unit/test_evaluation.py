"""An evaluation without a cluster: which model, which photos, which numbers, and mistakes in one sentence."""

from __future__ import annotations

import csv
import io
import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.oracle import oracle
from benchmarks.quality import as_text, find_models
from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.metrics import METRICS
from lle.model import Model
from pipelines.data.listing import DataError
from pipelines.data.photo_sets import read_photo
from pipelines.evaluate import main
from pipelines.evaluation import job as evaluation
from pipelines.evaluation.job import result_files, summarise, write_files
from pipelines.evaluation.metrics import MetricSuite, load_metric_suite
from pipelines.evaluation.worker import PICTURE_HEIGHT, Measured, Photo, find_evaluated_photos, measure_photo
from pipelines.models.named import ModelError
from pipelines.models.resolve import find_model
from pipelines.reporting.pictures import LABEL_HEIGHT
from tests.unit.test_published import FILES

BUDGET = 10**8


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args, **kwargs):
        pytest.fail("the cluster was started in spite of the mistake")

    monkeypatch.setattr(evaluation, "connect", connect)


@pytest.fixture(scope="module")
def suite() -> MetricSuite:
    return load_metric_suite("")


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """Three dark photos, their ground truth, and two good ones."""
    random = np.random.default_rng(0)
    for name, gain, count in (("low", 0.2, 3), ("high", 1.0, 3), ("good", 1.0, 2)):
        (tmp_path / name).mkdir()
        for index in range(count):
            picture = (random.random((40, 50 + index, 3)) * 255 * gain).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{index}.png")
    return {name: str(tmp_path / name) for name in ("low", "high", "good")}


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    try:
        assert main(arguments) == status
    except SystemExit as stop:
        assert stop.code == status
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    return message


# --- which model ------------------------------------------------------------------------------------------------------


def test_a_saved_models_folder_gives_its_pictures(tmp_path: Path):
    torch.manual_seed(0)
    settings = EnhancerSettings(arch="compact", thumbnail_size=32, width=4)
    saved = Model(build_enhancer(settings), settings)
    torch.nn.init.constant_(saved.enhancer.head.bias, 0.5)
    found = find_model(str(saved.save(tmp_path / "mine")), "")
    image = torch.rand(1, 3, 20, 30)
    assert found.name == "mine" and found.parameters == sum(each.numel() for each in saved.parameters())
    assert torch.equal(found.network(image), saved(image))


@pytest.mark.parametrize(
    ("uri", "mean"),
    [
        ("baseline:auto-gain", 0.40),
        ("baseline:auto-gamma", 0.45),
        ("baseline:auto-exposure", 0.40),
        ("baseline:auto-exposure=0.3", 0.3),
        ("baseline:exposure-shoulder", 0.44),
        ("baseline:exposure-shoulder-lift", 0.44),
        ("baseline:exposure-shoulder=0.3", 0.3),
        ("baseline:exposure-shoulder-lift=.5+denoise", 0.5),
        ("baseline:auto-gamma=.55+denoise", 0.55),
    ],
)
def test_baselines_aim_at_the_mean_of_their_uri(uri: str, mean: float):
    torch.manual_seed(0)
    found = find_model(uri, "")
    assert found.parameters == 0 and found.name == uri.removeprefix("baseline:")
    assert float(found.network(0.2 * torch.rand(1, 3, 64, 64)).mean()) == pytest.approx(mean, abs=0.005)


def test_the_input_is_a_baseline_and_denoising_changes_it():
    torch.manual_seed(0)
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(find_model("baseline:input", "").network(image), image)
    assert find_model("baseline:input+denoise", "").network(image).std() < image.std()


def test_published_networks_have_names_and_parameters(shared: Path):
    file = shared / "data" / "weights" / "peers" / FILES["zero-dce++"]
    found = find_model(f"published:zero-dce++/12={file}", "")
    assert found.name == "zero-dce++/12" and found.parameters == 10_561
    assert found.network.enhancer.scale == 12


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("modles:lle-enhancer", "is of no known kind; give models:/NAME@ALIAS, runs:/ID, published:NAME=FILE"),
        ("https://example.org/model", "is of no known kind"),
        ("nowhere/model", "nowhere/model: no saved model"),
        ("published:pie", "is not of the form published:NAME=FILE"),
        ("published:pie/12=PiLLE.pth", "only zero-dce++ takes a scale"),
        ("published:zero-dse=any.pth", "no published network of this name is known"),
        ("published:sci=absent.pt", "absent.pt: no such file"),
        (
            "baseline:auto-contrast",
            "is no baseline; choose from input, auto-gain, auto-gamma, auto-exposure, exposure-shoulder",
        ),
        ("baseline:input=0.4", "a target is a mean, or a share of haze, between 0 and 1"),
        ("baseline:auto-gain=1.5", "a target is a mean, or a share of haze, between 0 and 1"),
        ("baseline:auto-gain=0", "a target is a mean, or a share of haze, between 0 and 1"),
    ],
)
def test_a_uri_that_names_no_model_is_told_in_one_sentence(folders, tmp_path: Path, capsys, uri: str, message: str):
    with pytest.raises(ModelError):
        find_model(uri, "")
    told = refusal(capsys, "--model", uri, "--data.dark", folders["low"], "--output", str(tmp_path / "out"))
    assert told.startswith("error: model: ") and message in told
    assert not (tmp_path / "out").exists()


def test_a_registry_without_the_model_is_told_in_one_sentence(folders, tmp_path: Path, capsys):
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    told = refusal(
        capsys,
        "--model",
        "models:/absent@best",
        "--data.dark",
        folders["low"],
        "--output",
        "out",
        "--tracking.uri",
        tracking,
    )
    assert "has no models:/absent@best (" in told and "model: sqlite:///" in told


# --- which photos -----------------------------------------------------------------------------------------------------


def test_photos_of_each_set_are_found_with_their_ground_truth(folders):
    photos, refused = find_evaluated_photos(*folders.values(), pictures=2, max_pixels=BUDGET)
    assert refused == {}
    assert [(each.group, each.name, Path(each.truth_path).name) for each in photos] == [
        ("low", "0.png", "0.png"), ("low", "1.png", "1.png"), ("low", "2.png", "2.png"),
        ("good", "0.png", ""), ("good", "1.png", ""),
    ]  # fmt: skip
    assert [each.shown for each in photos] == [True, False, True, True, True]


def test_an_unreadable_photo_is_set_aside_with_its_partner(folders):
    Path(folders["low"], "1.png").write_bytes(b"rubbish")
    photos, refused = find_evaluated_photos(folders["low"], folders["high"], "", 0, BUDGET)
    assert [each.name for each in photos] == ["0.png", "2.png"]
    assert [Path(path).name for path in refused] == ["1.png"]


def test_pairs_of_different_names_are_told_in_one_sentence(folders, tmp_path: Path, capsys):
    Path(folders["high"], "2.png").rename(Path(folders["high"], "3.png"))
    told = refusal(
        capsys,
        "--model",
        "baseline:input",
        "--data.dark",
        folders["low"],
        "--data.truth",
        folders["high"],
        "--output",
        str(tmp_path),
    )
    assert "data.dark and data.truth: 2.png, 3.png have no partner of the same name" in told


@pytest.mark.parametrize("name", ["data.dark", "data.good"])
def test_empty_and_absent_folders_are_told_in_one_sentence(folders, tmp_path: Path, capsys, name: str):
    (tmp_path / "empty").mkdir()
    common = ("--model", "baseline:input", "--output", str(tmp_path / "out"))
    assert f"{name}: {tmp_path / 'empty'} holds no picture" in refusal(
        capsys, *common, f"--{name}", str(tmp_path / "empty")
    )
    assert f"{name}: {tmp_path / 'gone'} does not exist" in refusal(
        capsys, *common, f"--{name}", str(tmp_path / "gone")
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --model, --output"),
        (["--model", "baseline:input", "--output", "o"], "data.dark and data.good: name at least one folder of photos"),
        (
            ["--model", "baseline:input", "--output", "o", "--data.truth", "h", "--data.good", "g"],
            "data.truth: is the ground truth of data.dark",
        ),
        (
            ["--model", "baseline:input", "--output", "o", "--data.dark", "l", "--pictures", "-1"],
            "pictures: -1 is not allowed",
        ),
        (
            ["--model", "baseline:input", "--output", "o", "--data.dark", "l", "--data.turth", "h"],
            "--data.turth: no such setting; did you mean --data.truth?",
        ),
    ],
)
def test_mistakes_on_the_command_line_are_told_in_one_sentence(capsys, arguments: list[str], message: str):
    assert message in refusal(capsys, *arguments, status=2)


# --- which numbers ----------------------------------------------------------------------------------------------------


def test_the_best_exposure_of_a_photo_is_no_worse_than_any_that_knows_less(folders):
    photo = find_evaluated_photos(*folders.values(), pictures=0, max_pixels=BUDGET)[0][0]
    image, truth = (
        torch.from_numpy(read_photo(*where, BUDGET)).permute(2, 0, 1)[None] / 255
        for where in ((photo.uri, photo.path), (photo.truth_uri, photo.truth_path))
    )
    named = oracle(photo, "best", BUDGET)
    best = (named.network(image) - truth).square().mean()
    assert (named.name, named.parameters) == ("best", 0)
    for target in (0.2, 0.3, 0.44, 0.6):
        other = find_model(f"baseline:exposure-shoulder={target}", "").network(image)
        assert float(best) < float((other - truth).square().mean()) * 1.05


def test_a_dark_photo_is_measured_against_its_ground_truth(folders, suite: MetricSuite):
    photo = find_evaluated_photos(*folders.values(), pictures=1, max_pixels=BUDGET)[0][0]
    measured = measure_photo(find_model("baseline:auto-gain=0.5", ""), suite, photo, BUDGET)
    assert not measured.refused and not measured.mismatch
    assert set(measured.values) == {
        "psnr", "ssim", "psnr_gt_mean", "colour_error", "over_exposed", "colour_cast", "lightness_order_error",
        "our_prior_well_lit",
    }  # fmt: skip
    untouched = measure_photo(find_model("baseline:input", ""), suite, photo, BUDGET)
    assert measured.values["psnr"] > untouched.values["psnr"]
    picture = np.asarray(Image.open(io.BytesIO(measured.picture)))
    assert picture.shape[0] == PICTURE_HEIGHT + LABEL_HEIGHT and picture.shape[1] == 4 * 500 + 3 * 6, (
        "before, one exposure without learning, after, ground truth"
    )
    assert len(measured.views) == 4
    numbers = measure_photo(find_model("baseline:auto-gain=0.5", ""), suite, photo, BUDGET, shown=False)
    assert numbers.values == measured.values and not (numbers.views or numbers.picture)


def test_a_good_photo_is_compared_with_itself(folders, suite: MetricSuite):
    photo = find_evaluated_photos("", "", folders["good"], 0, BUDGET)[0][0]
    untouched = measure_photo(find_model("baseline:input", ""), suite, photo, BUDGET)
    assert untouched.values["unchanged"] == 100 and untouched.picture == b""
    changed = measure_photo(find_model("baseline:auto-gain=0.9", ""), suite, photo, BUDGET)
    assert changed.values["unchanged"] < 20


def test_a_pair_of_different_sizes_and_a_broken_file_are_told_by_name(folders, suite: MetricSuite):
    low = find_evaluated_photos(*folders.values(), pictures=0, max_pixels=BUDGET)[0]
    model = find_model("baseline:input", "")
    crossed = Photo("low", low[0].uri, low[0].path, low[1].truth_uri, low[1].truth_path)
    assert (
        measure_photo(model, suite, crossed, BUDGET).mismatch
        == "0.png differs in size, 50x40 and 51x40; pairs must be aligned"
    )
    Path(low[2].path).write_bytes(b"rubbish")
    assert "2.png: not a JPEG" in measure_photo(model, suite, low[2], BUDGET).refused


def test_metrics_without_weights_are_skipped_with_a_reason(tmp_path: Path):
    for suite in (load_metric_suite(""), load_metric_suite(str(tmp_path))):
        assert set(suite.skipped) == {"lpips", "niqe"}
        assert "niqe_pris_params.npz" in suite.skipped["niqe"] and "--weights" in suite.skipped["niqe"]
    with pytest.raises(ValueError, match="weights: .*gone is no folder"):
        load_metric_suite(str(tmp_path / "gone"))


def test_metrics_with_weights_are_found_at_any_depth(shared: Path, folders):
    suite = load_metric_suite(str(shared / "data" / "weights"))
    assert suite.skipped == {}
    lol = shared / "data" / "test_paired" / "lol_eval15"
    photo = Photo("low", str(lol), str(lol / "low" / "1.png"), str(lol), str(lol / "high" / "1.png"))
    values = measure_photo(find_model("baseline:input", ""), suite, photo, BUDGET).values
    assert values["lpips"] == pytest.approx(0.31538, abs=1e-4) and values["niqe"] == pytest.approx(6.4321, abs=1e-3)
    assert set(values) == set(METRICS) - {"feature_gap", "distribution", "judge_gap", "restored", "unchanged"}


def test_the_summary_knows_the_worst_in_each_direction():
    measured = [
        Measured("low", "a", {"psnr": 10.0, "over_exposed": 0.1}),
        Measured("low", "b", {"psnr": 20.0, "over_exposed": 0.3}),
        Measured("good", "c", {"unchanged": 30.0}),
    ]
    summary = summarise(measured)
    assert summary["low"]["psnr"]["mean"] == 15 and summary["low"]["psnr"]["worst"] == 10
    assert summary["low"]["over_exposed"]["worst"] == 0.3 and not summary["low"]["over_exposed"]["higher_is_better"]
    assert summary["good"] == {
        "unchanged": {
            "mean": 30.0, "worst": 30.0, "photos": 1, "higher_is_better": True, "unit": "dB",
            "about": METRICS["unchanged"].about,
        }
    }  # fmt: skip


def test_the_files_hold_every_number_and_picture(tmp_path: Path):
    measured = [
        Measured("good", "night/c.webp", {"unchanged": 30.0}, picture=b"jpeg"),
        Measured("good", "night/d.png", {"unchanged": 30.0}, picture=b"of png"),
        Measured("good", "night/d.tif", {"unchanged": 30.0}, picture=b"of tif"),
        Measured("low", "a.png", {"psnr": 10.0, "ssim": 0.5}),
        Measured("low", "b.png", refused="b.png: broken"),
    ]
    write_files(str(tmp_path / "new" / "out"), result_files(measured, {"model": "baseline:input"}))
    content = json.loads((tmp_path / "new" / "out" / "metrics.json").read_text())
    assert content["model"] == "baseline:input" and content["refused"] == {"b.png": "b.png: broken"}
    assert content["photos"][3] == {"set": "low", "name": "a.png", "psnr": 10.0, "ssim": 0.5}
    with (tmp_path / "new" / "out" / "metrics.csv").open(newline="") as lines:
        assert list(csv.DictReader(lines))[3] == {
            "set": "low", "name": "a.png", "psnr": "10.0", "ssim": "0.5", "unchanged": ""
        }  # fmt: skip
    assert (tmp_path / "new" / "out" / "pictures" / "good" / "night" / "c.jpg").read_bytes() == b"jpeg"
    pictures = {file.name: file.read_bytes() for file in (tmp_path / "new/out/pictures/good/night").iterdir()}
    assert pictures == {"c.jpg": b"jpeg", "d.png.jpg": b"of png", "d.tif.jpg": b"of tif"}


def test_files_that_cannot_be_written_are_told(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="output: .* cannot be written"):
        write_files(str(tmp_path / "file"), {"metrics.json": b"{}"})


# --- the protocol -----------------------------------------------------------------------------------------------------


# Measured by others on the same published weights (method 3): PSNR, SSIM, PSNR at the ground truth's mean.
TABLE = {
    "input": (7.77, 0.191, 18.75),
    "CLIP-LIT": (12.39, 0.493, 19.96),
    "RAVE (unpaired)": (9.49, 0.369, 20.14),
    "SCL-LLE": (12.42, 0.520, 20.96),
    "PIE": (11.54, 0.483, 20.40),
    "Zero-DCE": (14.86, 0.562, 20.95),
    "Zero-DCE++": (15.14, 0.566, 20.59),
    "SCI medium": (14.85, 0.527, 19.13),
}
PROTOCOL = {"psnr": 0.01, "ssim": 0.001, "psnr_gt_mean": 0.01}


@pytest.fixture(scope="module")
def stored(repository: Path) -> dict:
    """What `python -m benchmarks.quality` left behind."""
    return json.loads((repository / "benchmarks" / "results" / "quality.json").read_text())["rows"]


@pytest.mark.parametrize("name", TABLE)
def test_the_benchmark_reproduces_the_published_table(stored: dict, name: str):
    lol = stored[name]["sets"]["lol"]
    assert lol["photos"] == len(lol["pictures"]) == 15
    for (metric, within), expected in zip(PROTOCOL.items(), TABLE[name], strict=True):
        mean = np.mean([picture[metric] for picture in lol["pictures"].values()])
        assert mean == pytest.approx(expected, abs=within), metric


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("input", 15),
        ("SCI medium", 15),
        ("auto-gain", 2),
        ("auto-gamma", 2),
        ("auto-exposure", 2),
        ("auto-exposure+denoise", 2),
        ("exposure-shoulder", 2),
        ("SCL-LLE", 2),
        ("PIE", 2),
        ("Zero-DCE", 2),
        ("Zero-DCE++", 2),
        ("CLIP-LIT", 1),
        ("RAVE (unpaired)", 1),
    ],
)
def test_pictures_measure_as_the_benchmark_has_stored_them(
    shared: Path, suite: MetricSuite, stored: dict, name: str, pictures: int
):
    data = shared / "data"
    options = Namespace(data=data, model=[], only=[])
    model, lol = find_model(find_models(options)[name], ""), data / "test_paired" / "lol_eval15"
    photos, _ = find_evaluated_photos(str(lol / "low"), str(lol / "high"), "", 0, BUDGET)
    for photo in photos[:: 15 // pictures][:pictures]:
        values, expected = (
            measure_photo(model, suite, photo, BUDGET).values,
            stored[name]["sets"]["lol"]["pictures"][photo.name],
        )
        for metric, within in PROTOCOL.items():
            assert values[metric] == pytest.approx(expected[metric], abs=within), f"{photo.name} {metric}"


@pytest.mark.parametrize(
    ("name", "psnr", "ssim"), [("auto-exposure", 16.52, 0.500), ("auto-gain", 15.45, 0.472)], ids=["soft", "plain"]
)
def test_the_baselines_score_what_others_measured(stored: dict, name: str, psnr: float, ssim: float):
    found = stored[name]["sets"]["lol"]["metrics"]
    assert found["psnr"]["mean"] == pytest.approx(psnr, abs=0.01)
    assert found["ssim"]["mean"] == pytest.approx(ssim, abs=0.001)


def test_the_bundled_enhancer_has_a_name():
    assert find_model("bundled", "").parameters == 283_444 + 2_939_120


def test_the_page_shows_the_stored_results(repository: Path):
    results = json.loads((repository / "benchmarks" / "results" / "quality.json").read_text())
    assert as_text(results).strip() in (repository / "docs" / "benchmarks.md").read_text()
