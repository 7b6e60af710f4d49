"""What is listed as a photo, what is left out, and in which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from cluster.storage import list_files
from lle.config import DataSettings
from lle.images import SUFFIXES
from pipelines.config.enhance import EnhanceSettings
from pipelines.config.prepare import PrepareSettings
from pipelines.data.listing import DataError, LeftOut, not_a_photo, photos_in
from pipelines.data.manifest import begin, finish
from pipelines.data.part import pending_parts, prepare_part
from pipelines.data.photo_sets import list_photos
from pipelines.inference.progress import Done
from pipelines.inference.work import find_work, result_name


def picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), (9, 9, len(file.name) % 250)).save(file, "png")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two photos among all that lies about on people's disks."""
    root = tmp_path / "photos"
    for name in (
        "a.jpg", "sub/b.PNG", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "@eaDir/x.jpg", ".Trash-1000/files/c.jpg",
        ".thumbnails/d.png", "__MACOSX/sub/._b.png", "#recycle/e.jpg", "lost+found/f.jpg", "sub/._b.png", "g.dng",
        "h.dng", "i.cr3", "without", "clip.mp4", "notes.txt", "report.final version",
    ):  # fmt: skip
        picture(root / name)
    return root


def test_a_line_tells_what_is_left_out_by_kind_and_what_to_do(mixed: Path):
    left_out = LeftOut()
    assert [Path(file.path).name for file in photos_in(str(mixed), left_out)] == ["a.jpg", "b.PNG"]
    line = str(left_out)
    assert line.startswith("left out: 2 .dng (raw: develop them") and line.endswith(" of other kinds")
    for said in ("1 .cr3 (raw", "1 .mp4 (video: ", "2 without suffix (rename", "2 in @eaDir"):
        assert said in line
    assert left_out.kinds["in lost+found"] == left_out.kinds["in .Trash-1000"] == 1
    assert left_out.kinds["without suffix"] == 2 and left_out.kinds["hidden"] == 1
    assert left_out.count == sum(1 for _ in list_files(str(mixed))) - 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_can_be_read_is_never_left_out(suffix: str):
    assert not_a_photo(f"folder/photo{suffix.upper()}") == ""


def test_training_enhancing_and_preparing_say_so(mixed: Path, tmp_path: Path):
    assert "2 .dng (raw" in list_photos(str(mixed), "data.dark", DataSettings()).left_out
    told: list[str] = []
    settings = EnhanceSettings(model="baseline:input", input=str(mixed), output=str(tmp_path / "out"))
    photos, _ = find_work(settings, "1", Done(settings.output), told.append)
    assert [photo.entry.photo for photo in photos] == ["a.jpg", "clip.mp4", "g.dng", "h.dng", "i.cr3", "sub/b.PNG"]
    assert len(told) == 1 and "2 in @eaDir" in told[0]
    prepared = PrepareSettings(input=str(mixed), output=str(tmp_path / "prepared"))
    begin(prepared)
    for part in pending_parts(prepared, []):
        prepare_part(prepared, part)
    totals = finish(prepared)
    assert totals.kept == 2 and totals.refused == 15 and "2 .dng (raw" in totals.left_out


def test_a_folder_with_nothing_but_other_files_says_which(tmp_path: Path):
    picture(tmp_path / "a.dng")
    with pytest.raises(DataError, match=r"data\.dark: .* holds no picture \(1 files, .*left out: 1 \.dng \(raw"):
        list_photos(str(tmp_path), "data.dark", DataSettings())


def test_one_name_that_is_no_utf8_does_not_spoil_its_folder(tmp_path: Path):
    picture(tmp_path / "photos" / "good.png")
    odd = os.fsencode(tmp_path / "photos") + b"/caf\xe9.png"
    Path(os.fsdecode(odd)).write_bytes(b"")
    (tmp_path / "photos" / "dead.png").symlink_to("nowhere")
    (tmp_path / "photos" / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "photos" / "pipe.png")  # reading it would wait for ever
    found = list_photos(str(tmp_path / "photos"), "data.dark", DataSettings())
    assert [Path(path).name for path in found.paths] == ["good.png"]
    assert r"1 with a name that is not UTF-8 (rename or mend: caf\xe9.png)" in found.left_out
    assert "2 with a link that leads nowhere (rename or mend: " in found.left_out and "pipe.png" in found.left_out
    settings = PrepareSettings(input=str(tmp_path / "photos"), output=str(tmp_path / "prepared"))
    for _ in range(2):  # the second time nothing is new
        begin(settings)
        parts = [str(path) for path in sorted((tmp_path / "prepared" / "parts").glob("*"))]
        for part in pending_parts(settings, parts):
            assert not parts
            prepare_part(settings, part)
        assert finish(settings).left_out == found.left_out


def test_a_photo_asked_for_by_its_own_name_may_be_hidden(tmp_path: Path):
    picture(tmp_path / ".hidden.png")
    assert len(list(photos_in(str(tmp_path / ".hidden.png"), LeftOut()))) == 1
    assert list(photos_in(str(tmp_path), LeftOut())) == []


@pytest.mark.parametrize("letter", ["a", "é", "日", "🌙"])
@pytest.mark.parametrize("format", ["same", "png", "webp"])
def test_results_of_the_longest_names_fit_a_file_system(tmp_path: Path, letter: str, format: str):
    names = [letter * ((251 - len(str(end))) // len(letter.encode())) + f"{end}.jpg" for end in (1, 2)]
    results = [result_name(name, format) for name in names]
    assert len(set(results)) == 2
    for result in results:
        assert result.endswith({"same": ".jpg", "png": ".jpg.png", "webp": ".jpg.webp"}[format])
        (tmp_path / result).write_bytes(b"")


def test_short_names_stay_as_they_are():
    assert result_name("sub/日本.jpg", "same") == "sub/日本.jpg" and result_name("a.tif", "jpeg") == "a.tif.jpg"
    assert result_name("a//b.jpg", "same") == result_name("/a/b.jpg", "same") == "a/b.jpg"


def test_keys_that_would_become_one_file_are_refused(tmp_path: Path):
    long = "日" * 81
    picture(tmp_path / f"{long}.png")
    settings = EnhanceSettings(model="baseline:input", input=str(tmp_path), output=str(tmp_path / "out"), format="jpeg")
    (photo,), _ = find_work(settings, "1", Done(settings.output))
    assert photo.entry.photo == f"{long}.png" and len(photo.entry.result.encode()) <= 255
