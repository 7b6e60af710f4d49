"""Enhancing folders of photos, without a cluster: what is to be done, what a worker makes of it, what is noted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features
from torch import nn

from cluster.lease import held
from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.images import decode_picture, encode, read
from lle.model import Model, enhance, enhance_pixels, load
from pipelines import enhance as entry_point
from pipelines.config.enhance import EnhanceSettings
from pipelines.data.listing import DataError
from pipelines.inference.job import refuse_unknown_strength
from pipelines.inference.progress import PARTS, REPORT, UNREAD, Done, Entry, _rows, _table
from pipelines.inference.work import Photo, find_work, result_name
from pipelines.inference.worker import Worker, cores_beside_a_gpu
from pipelines.models.named import ModelError, NamedModel
from pipelines.models.resolve import find_model


class Brighten(nn.Module):
    """Adds 50 of 255, and remembers the shapes it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(image.shape))
        return image + 50 / 255


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four photos of two sizes in two folders, and a file of another kind."""
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, size in (("a.png", (20, 30)), ("b/c.png", (20, 30)), ("b/d.png", (10, 12)), ("e.png", (20, 30))):
        Image.fromarray(random.integers(0, 200, (*size, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no photo")
    return folder


def settings(photos: Path, **changes: object) -> EnhanceSettings:
    return EnhanceSettings(
        **{"model": "baseline:input", "input": str(photos), "output": str(photos.parent / "out"), **changes}
    )


def work(given: EnhanceSettings, version: str = "model") -> list[Photo]:
    return find_work(given, version, Done(given.output))[0]


def work_off(given: EnhanceSettings, network: nn.Module | None = None, version: str = "model") -> list[Entry]:
    """A run without Ray."""
    worker = Worker(NamedModel("", "", network or Brighten()), given)
    done = Done(given.output)
    entries = list(worker.enhance(find_work(given, version, done)[0]))
    for entry in entries:
        done.note(entry)
    done.write_report()
    return entries


def names(photos: Sequence[Photo]) -> list[str]:
    return [photo.entry.photo for photo in photos]


def test_every_photo_comes_out_under_its_name(photos: Path):
    given = settings(photos)
    assert names(work(given)) == ["a.png", "b/c.png", "b/d.png", "e.png"]
    assert not any(entry.failed for entry in work_off(given))
    for name in ("a.png", "b/c.png", "b/d.png", "e.png"):
        assert np.array_equal(read(photos.parent / "out" / name), read(photos / name) + 50)


def test_photos_of_one_size_are_enhanced_together_within_the_budget(photos: Path):
    for budget, shapes in (
        (10_000, [(1, 3, 10, 12), (3, 3, 20, 30)]),
        (1_200, [(1, 3, 10, 12), (2, 3, 20, 30), (1, 3, 20, 30)]),
        (1, [(1, 3, 10, 12), *[(1, 3, 20, 30)] * 3]),
    ):
        network = Brighten()
        work_off(settings(photos, batch_pixels=budget, again=True), network)
        assert sorted(network.shapes) == sorted(shapes)


def test_what_is_done_is_not_done_again(photos: Path):
    given = settings(photos)
    work_off(given)
    assert find_work(given, "model", Done(given.output)) == ([], 4)
    assert names(work(given, version="another model")) == ["a.png", "b/c.png", "b/d.png", "e.png"]
    assert names(work(settings(photos, quality=80))) == ["a.png", "b/c.png", "b/d.png", "e.png"]
    assert names(work(settings(photos, again=True))) == ["a.png", "b/c.png", "b/d.png", "e.png"]


def test_a_changed_a_new_and_a_lost_photo_are_done_again(photos: Path):
    given = settings(photos)
    work_off(given)
    Image.new("RGB", (9, 9)).save(photos / "a.png")
    Image.new("RGB", (9, 9)).save(photos / "new.png")
    (photos.parent / "out" / "e.png").unlink()
    assert names(work(given)) == ["a.png", "e.png", "new.png"]


def test_bad_files_are_noted_with_their_reason_and_tried_again(photos: Path):
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.jpg").write_text("no photo at all")
    whole = (photos / "e.png").read_bytes()
    (photos / "e.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (400, 300)).save(photos / "large.png")
    given = settings(photos, max_pixels=100_000)
    reasons = {entry.photo: entry.failed for entry in work_off(given)}
    assert reasons.pop("empty.jpg") == "the file is empty"
    assert "not a JPEG" in reasons.pop("text.jpg")
    assert "truncated" in reasons.pop("e.png")
    assert "over the limit of 100000" in reasons.pop("large.png")
    assert set(reasons.values()) == {""} and len(reasons) == 3
    report = (photos.parent / "out" / REPORT).read_text()
    assert "the file is empty" in report and "over the limit" in report
    (photos / "e.png").write_bytes(whole)
    assert names(work(given)) == ["e.png", "empty.jpg", "large.png", "text.jpg"]


def test_a_photo_that_vanishes_is_noted(photos: Path):
    given = settings(photos)
    waiting = work(given)
    (photos / "a.png").unlink()
    entries = list(Worker(NamedModel("", "", Brighten()), given).enhance(waiting))
    assert {entry.photo for entry in entries if entry.failed} == {"a.png"} and len(entries) == 4


class FailsOnFlat(Brighten):
    """Cannot do photos that are all zero."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if (image.amax(dim=(1, 2, 3)) == 0).any():
            raise RuntimeError("too dark to see\nand a trace")
        return super().forward(image)


class GivesNaN(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * torch.nan


def test_one_photo_that_the_model_cannot_do_does_not_cost_the_others_of_its_size(photos: Path):
    Image.new("RGB", (30, 20)).save(photos / "black.png")
    entries = work_off(settings(photos), FailsOnFlat())
    assert [(entry.photo, entry.failed) for entry in entries if entry.failed] == [("black.png", "too dark to see")]
    assert len(entries) == 5


def test_values_that_are_not_numbers_are_a_failure(photos: Path):
    assert all("NaN" in entry.failed for entry in work_off(settings(photos), GivesNaN()))
    assert [*(photos.parent / "out").glob("**/*.png")] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write_is_a_failure_of_each_photo(photos: Path):
    out = photos.parent / "out"
    out.mkdir(mode=0o500)
    worker = Worker(NamedModel("", "", Brighten()), settings(photos))
    assert all("ermission" in entry.failed for entry in worker.enhance(work(settings(photos))))


def test_exif_and_profile_are_kept_and_nothing_is_turned_twice(photos: Path):
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Camera"
    for file in photos.glob("**/*.png"):
        file.unlink()
    Image.new("RGB", (30, 20), (9, 9, 9)).save(photos / "turned.jpg", exif=exif)
    work_off(settings(photos))
    with Image.open(photos.parent / "out" / "turned.jpg") as written:
        assert written.size == (20, 30) and written.getexif()[271] == "Camera" and written.getexif().get(274, 1) == 1


@pytest.mark.parametrize(
    ("format", "suffix", "kind"),
    [
        ("same", "", "PNG"),
        ("png", "", "PNG"),
        ("jpeg", ".jpg", "JPEG"),
        ("webp", ".webp", "WEBP"),
        ("tiff", ".tif", "TIFF"),
        ("avif", ".avif", "AVIF"),
    ],
)
def test_the_format_can_be_chosen(photos: Path, format: str, suffix: str, kind: str):
    work_off(settings(photos, format=format))
    with Image.open(photos.parent / "out" / f"a.png{suffix}") as written:
        assert written.format == kind and written.size == (30, 20)


@pytest.mark.parametrize(
    ("photo", "format", "result"),
    [
        ("a.JPG", "same", "a.JPG"),
        ("a.jfif", "jpeg", "a.jfif"),
        ("a.gif", "same", "a.gif.png"),
        ("a.HEIC", "same", "a.HEIC.jpg"),
        ("a.avif", "same", "a.avif"),
        ("a.bmp", "same", "a.bmp"),
        ("x/a.tiff", "tiff", "x/a.tiff"),
        ("x/a.tiff", "webp", "x/a.tiff.webp"),
    ],
)
def test_a_result_has_the_photos_name_or_one_suffix_more(photo: str, format: str, result: str):
    assert result_name(photo, format) == result


def test_side_by_side_has_the_photo_on_the_left(photos: Path):
    work_off(settings(photos, side_by_side=True))
    pair, photo = read(photos.parent / "out" / "a.png"), read(photos / "a.png")
    assert np.array_equal(pair[:, :30], photo) and np.array_equal(pair[:, -30:], photo + 50)


def test_strength_is_obeyed_and_another_is_done_anew(photos: Path):
    for file in photos.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(file)) // 8).save(file)
    network, means = load("bundled"), list[float]()
    for strength in (0, 0.5, 1, 1.5):
        given = settings(photos, strength=strength)
        assert len(work_off(given, network)) == 4 and work(given) == []
        means.append(float(np.asarray(Image.open(Path(given.output) / "a.png")).mean()))
    assert means == sorted(means) and means[-1] > 3 * means[0]
    assert means[0] == pytest.approx(float(np.asarray(Image.open(photos / "a.png")).mean()), abs=0.01)


def test_a_model_that_knows_no_strength_is_told_before_any_photo_is_read():
    refuse_unknown_strength(NamedModel("ours", "", load("bundled")), 0.5)
    refuse_unknown_strength(NamedModel("other", "", Brighten()), 1)
    for network in (
        Brighten(),
        Model(build_enhancer(EnhancerSettings(arch="compact")), EnhancerSettings(arch="compact")),
    ):
        with pytest.raises(ModelError, match="strength: .*knows none but 1; leave it out"):
            refuse_unknown_strength(NamedModel("other", "", network), 0.5)


def test_one_photo_alone_can_be_named(photos: Path):
    assert names(work(settings(photos, input=str(photos / "b" / "c.png")))) == ["c.png"]


def test_an_output_inside_the_input_is_not_enhanced_again(photos: Path):
    given = settings(photos, output=f"{photos}/out")
    work_off(given)
    assert (photos / "out" / "b" / "c.png").exists()
    assert find_work(given, "model", Done(given.output)) == ([], 4)


@pytest.mark.parametrize("output", ["in", "in/../in/", "."])
def test_an_output_that_holds_the_input_is_refused(photos: Path, output: str):
    with pytest.raises(DataError, match="output: .* holds the input, whose photos would be written over"):
        work(settings(photos, output=str(photos.parent / output)))


def test_two_photos_that_would_become_one_file_are_refused(photos: Path):
    Image.new("RGB", (9, 9)).save(photos / "a.png.jpg")
    with pytest.raises(DataError, match="a.png and a.png.jpg would both become a.png.jpg; rename one of them"):
        work(settings(photos, format="jpeg"))


def test_a_killed_run_leaves_its_notes_in_parts(photos: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.inference.progress.SECONDS_BETWEEN_PARTS", -1.0)
    given = settings(photos)
    done = Done(given.output)
    for entry in Worker(NamedModel("", "", Brighten()), given).enhance(work(given)[:2]):
        done.note(entry)  # and no close
    out = photos.parent / "out"
    assert len([*(out / PARTS).iterdir()]) == 2 and not (out / REPORT).exists()
    assert len(work(given)) == 2
    work_off(given)
    assert not (out / PARTS).exists() and len((out / REPORT).read_text().splitlines()) == 5
    assert work(given) == []


@pytest.mark.parametrize(
    ("damage", "unreadable", "left"),
    [
        (lambda text: text.replace("\n", "\r\n"), 0, 0),
        (lambda text: text.replace("\n", "\r"), 0, 0),
        (lambda text: text.replace("\n", "\n\n") + " \n,,,\n", 0, 0),
        (lambda text: text.replace(",", ";"), 0, 0),
        (lambda text: text.replace(",", "\t"), 0, 0),
        (lambda text: "\ufeff" + text, 0, 0),
        (lambda text: text + text, 0, 0),
        (lambda text: text.replace("\n", ",seen\n"), 0, 0),
        (lambda text: "", 0, 4),
        (lambda text: text.replace("\na.png", "\na\r.png"), 1, 1),
        (lambda text: text.replace("\na.png", "\na\0.png"), 0, 1),
        (lambda text: text + "a.png,short\n", 1, 0),
        (lambda text: text.replace(",20,", ",twenty,"), 3, 3),
        (lambda text: text.replace(",20,", ",20.0,"), 3, 3),
        (lambda text: text + 'an "unbalanced, row\n"x,' + "y" * 200_000, 2, 0),
        (lambda text: text.partition("\n")[2], 4, 4),
        (lambda text: text.encode() + "caf\xe9.png,1-2,model,caf\xe9.png,4,4,\n".encode("latin-1"), 1, 0),
        (lambda text: text.encode("utf-16"), 6, 4),
        (lambda text: bytes(range(256)), 2, 4),
    ],
)
def test_a_report_that_people_have_saved_anew_costs_only_the_rows_that_make_no_sense(
    photos: Path,
    damage: Callable[[str], str | bytes],
    unreadable: int,
    left: int,
    capsys: pytest.CaptureFixture[str],
):
    given, version = settings(photos), find_model("baseline:input", "").version
    work_off(given, version=version)
    report, kept = (photos.parent / "out" / name for name in (REPORT, UNREAD))
    damaged = damage(report.read_text())
    report.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
    before, done = report.read_bytes(), Done(given.output)
    assert done.unreadable == unreadable and len(find_work(given, version, done)[0]) == left
    if left:
        work_off(given, version=version)
    else:
        arguments = ["--model", "baseline:input", "--input", str(photos), "--output", given.output]
        assert entry_point.main(arguments) == 0
        told = f"{unreadable} rows of report.csv in" in capsys.readouterr().out
        assert told == (unreadable > 0)
    assert (kept.read_bytes() if kept.exists() else b"") == (before if unreadable else b"")
    again = Done(given.output)
    assert again.unreadable == 0 and find_work(given, version, again) == ([], 4)


@pytest.mark.parametrize(
    "name",
    ["a,b.png", 'a"b.png', "a\rb.png", "a\nb.png", "a\r\nb.png", " a .png", "=1+1.png", "caf\udce9.png", "\u65e5.png"],
)
def test_any_file_name_comes_back_from_the_report(tmp_path: Path, name: str):
    entry = Entry(name, "1-2", "model", name, 3, 4)
    (tmp_path / REPORT).write_bytes(_table([entry, Entry("bad", "", "", "bad", failed="why,\r\n\ud800\0 \u2026")]))
    first, second = _rows((tmp_path / REPORT).read_bytes())
    assert first == entry and second == Entry("bad", "", "", "bad", failed="why,\r\n?\0 \u2026")


def test_a_photo_whose_result_has_another_name_now_is_not_done(tmp_path: Path):
    entry = Entry("a.png", "1-2", "model", "a.png", 3, 4)
    (tmp_path / REPORT).write_bytes(_table([entry]))
    (tmp_path / "a.png").write_bytes(b"enhanced")
    done = Done(str(tmp_path))
    assert done.has(entry) and not done.has(replace(entry, result="a.webp"))


def test_of_two_runs_into_one_output_neither_dies_on_the_others_notes(photos: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.inference.progress.SECONDS_BETWEEN_PARTS", -1.0)
    given = settings(photos)
    worker, parts = Worker(NamedModel("", "", Brighten()), given), photos.parent / "out" / PARTS
    first = Done(given.output)
    for entry in worker.enhance(work(given)):
        first.note(entry)
    second = Done(given.output)  # knows the first one's notes
    (parts / "people.txt").touch()
    first.write_report()
    second.write_report()
    assert [file.name for file in parts.iterdir()] == ["people.txt"] and work(given) == []


def test_an_output_that_another_run_works_in_is_left_alone(photos: Path, capsys: pytest.CaptureFixture):
    given = settings(photos)
    arguments = ["--model", "baseline:input", "--input", str(photos), "--output", given.output]
    with held(given.output):
        assert entry_point.main(arguments) == 1
        assert [file.name for file in Path(given.output).iterdir()] == [".lease"]
    told = capsys.readouterr().err
    assert (
        told.startswith(f"error: output: {given.output} is in use by process {os.getpid()} of ")
        and told.count("\n") == 1
    )


def model(**changes: object) -> Model:
    torch.manual_seed(0)
    given = EnhancerSettings(**{"arch": "compact", "thumbnail_size": 32, "width": 4, **changes})
    return Model(build_enhancer(given), given)


def test_the_version_of_a_model_follows_its_weights_and_settings_not_its_place(tmp_path: Path):
    first, moved = (find_model(str(model().save(tmp_path / name)), "").version for name in ("first", "moved"))
    other_look = find_model(str(model(thumbnail_size=48).save(tmp_path / "look")), "").version
    changed = model()
    with torch.no_grad():
        changed.enhancer.head.bias.add_(0.1)
    other_weights = find_model(str(changed.save(tmp_path / "weights")), "").version
    assert first == moved and len({first, other_look, other_weights}) == 3
    assert find_model("baseline:auto-gain", "").version != find_model("baseline:auto-gain=0.3", "").version


def test_pixels_are_enhanced_like_pictures():
    network = model().eval()
    torch.nn.init.constant_(network.enhancer.head.bias, 0.5)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 15, 18, 3), dtype=np.uint8)
    for one, brighter in zip(pixels, enhance_pixels(network, pixels), strict=True):
        picture = enhance(network, torch.from_numpy(one).permute(2, 0, 1) / 255)
        assert np.array_equal(brighter, (picture * 255).round().byte().permute(1, 2, 0).numpy())
        assert not np.array_equal(one, brighter)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--output", "y"], "input: no photos; name a photo"),
        (["--input", "x", "--output", "y"], "input: x does not exist"),
        (["x", "--outptu", "y"], "--outptu: no such setting; did you mean --output?"),
        (["--model", "baseline:input", "--input", "x", "--output", "y", "--quality", "0"], "quality: 0 is not allowed"),
        (["--model", "baseline:input", "--input", "x", "--output", "y", "--format", "heic"], "one of same, jpeg, png"),
        (["--model", "baseline:magic", "--input", "x", "--output", "y"], "baseline:magic is no baseline"),
        (["--model", "baseline:input", "--input", "nowhere", "--output", "y"], "input: nowhere does not exist"),
        (["--model", "baseline:input", "--input", "ftp://x", "--output", "y"], "ftp://: unknown scheme"),
    ],
)
def test_a_mistake_ends_with_2_and_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    try:
        status = entry_point.main(arguments)
    except SystemExit as exit:
        status = exit.code
    told = capsys.readouterr().err.strip()
    assert status == 2 and sentence in told and "\n" not in told


def test_nothing_to_do_needs_no_cluster(photos: Path, capsys: pytest.CaptureFixture):
    given = settings(photos)
    work_off(given, version=find_model("baseline:input", "").version)
    arguments = ["--model", "baseline:input", "--input", str(photos), "--output", given.output]
    assert entry_point.main(arguments) == 0
    assert "0 photos enhanced, 4 done before, 0 failed" in capsys.readouterr().out


def test_workers_on_gpus_share_the_cores_of_their_own_machine():
    """Or they would ask for more than any machine has, and wait for ever."""
    small, large, plain = {"CPU": 8, "GPU": 1}, {"CPU": 33, "GPU": 4}, {"CPU": 64}
    assert cores_beside_a_gpu([small, plain, plain], 1) == 7
    assert cores_beside_a_gpu([small, large], 5) == 7
    assert cores_beside_a_gpu([large], 4) == 8 and cores_beside_a_gpu([large], 2) == 8
    assert cores_beside_a_gpu([small], 2) == 3 and cores_beside_a_gpu([small], 20) == 1


class Tints(nn.Module):
    """Doubles the light, and tints it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (2 * image + torch.tensor([3.0, 0.0, -3.0]).view(3, 1, 1) / 255).clamp(0, 1)


class ByTheMean(nn.Module):
    """Lifts the mean to 0.6: what it sees of a picture decides."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image * (0.6 / image.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3))).clamp(0, 1)


def only(folder: Path, name: str, image: Image.Image, **options: object) -> None:
    """One photo instead of what was there."""
    for file in folder.glob("**/*.png"):
        file.unlink()
    image.save(folder / name, **options)


@pytest.mark.parametrize("name", ["cut.png", "cut.webp", "cut.tif"])
@pytest.mark.parametrize("below", [0, 255])
def test_the_light_of_a_cut_out_is_decided_by_what_is_opaque(photos: Path, name: str, below: int):
    alpha = np.zeros((40, 60), np.uint8)
    alpha[5:20, 10:30] = 255
    pixels = np.full((40, 60, 3), below, np.uint8)
    pixels[alpha > 0] = 88
    only(photos, name, Image.fromarray(np.dstack([pixels, alpha])), **({"lossless": True} if "webp" in name else {}))
    (entry,) = work_off(settings(photos), ByTheMean())
    assert (entry.failed, entry.note) == ("", "")
    with Image.open(photos.parent / "out" / name) as written:
        result = np.asarray(written)
    assert np.array_equal(result[..., 3], alpha)
    opaque = result[alpha > 0][:, :3].astype(int)
    assert np.abs(opaque - 153).max() <= (0 if "webp" not in name else 3)


def test_alpha_that_the_format_cannot_hold_is_told(photos: Path, capsys: pytest.CaptureFixture):
    only(photos, "cut.png", Image.new("RGBA", (30, 20), (9, 9, 9, 0)))
    (entry,) = work_off(settings(photos, format="jpeg"))
    assert (entry.failed, entry.note) == ("", "alpha (composited on white)")
    assert read(photos.parent / "out" / "cut.png.jpg").min() >= 253
    assert "alpha (composited on white)" in (photos.parent / "out" / REPORT).read_text()
    assert work(settings(photos, format="jpeg")) == []


def test_a_report_without_notes_is_still_known(photos: Path):
    given = settings(photos)
    work_off(given)
    report = photos.parent / "out" / REPORT
    rows = [line.rsplit(",", 1)[0] for line in report.read_text().splitlines()]
    report.write_text("\n".join(rows) + "\n")
    assert work(given) == []


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_stay_16_bits_all_the_way(photos: Path, suffix: str):
    samples = np.random.default_rng(0).integers(0, 30_000, (20, 30, 3)).astype(np.uint16)
    only(photos, f"a{suffix}", Image.new("RGB", (30, 20)))
    (photos / f"a{suffix}").write_bytes(encode(samples, suffix))
    Image.new("RGB", (30, 20), (9, 9, 9)).save(photos / "shallow.png")  # of the same size, with 8 bits
    assert not any(entry.failed for entry in work_off(settings(photos)))
    result = decode_picture((photos.parent / "out" / f"a{suffix}").read_bytes()).pixels
    assert result.dtype == np.uint16
    assert np.abs(result.astype(int) - samples - round(50 / 255 * 65_535)).max() <= 1
    assert read(photos.parent / "out" / "shallow.png").tolist()[0][0] == [59, 59, 59]
    (entry,) = [each for each in work_off(settings(photos, format="jpeg")) if each.photo == f"a{suffix}"]
    assert entry.note == "16 bits (written with 8)"


@pytest.mark.parametrize("name", ["grey.png", "grey.jpg", "grey.tif", "grey.bmp"])
def test_a_grey_photo_comes_back_grey(photos: Path, name: str):
    only(photos, name, Image.linear_gradient("L"))
    work_off(settings(photos), Tints())
    with Image.open(photos.parent / "out" / name) as written:
        assert written.mode == "L"
        assert abs(int(np.asarray(written)[60, 5]) - 120) <= 3


@pytest.mark.parametrize("side", ["RGB", "RGBA", "L", "LA"])
def test_side_by_side_of_every_mode(photos: Path, side: str):
    only(photos, "a.png", Image.linear_gradient("L").resize((30, 20)).convert(side))
    assert not any(entry.failed for entry in work_off(settings(photos, side_by_side=True)))
    with Image.open(photos.parent / "out" / "a.png") as written:
        assert written.mode == side and written.size == (66, 20)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16"])
@pytest.mark.parametrize("name", ["png.jpg", "png.tif", "png.bmp", "png.webp"])
def test_a_photo_with_a_profile_under_a_wrong_suffix_is_written_as_its_name_says(photos: Path, name: str, mode: str):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colour = {"L": 9, "I;16": 2000}.get(mode, (9,) * len(mode))
    image = Image.new(mode, (30, 20), colour)
    only(photos, name, image, format="PNG", icc_profile=profile)
    (entry,) = work_off(settings(photos))
    assert not entry.failed
    with Image.open(photos.parent / "out" / name) as written:
        assert written.format == {"jpg": "JPEG", "tif": "TIFF", "bmp": "BMP", "webp": "WEBP"}[name[4:]]
        assert written.info.get("icc_profile") in ((profile, None) if mode != "RGB" or "bmp" in name else (profile,))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_goes_in_and_out(photos: Path):
    only(photos, "a.avif", Image.new("RGB", (30, 20), (50, 60, 70)))
    work_off(settings(photos))
    assert np.abs(read(photos.parent / "out" / "a.avif").astype(int) - [100, 110, 120]).max() <= 3
    work_off(settings(photos, format="png"))
    assert (photos.parent / "out" / "a.avif.png").exists()
    (photos / "b.png").write_bytes(encode(np.full((20, 30, 3), 50, np.uint8)))
    work_off(settings(photos, format="avif"))
    assert np.abs(read(photos.parent / "out" / "b.png.avif").astype(int) - 100).max() <= 3
