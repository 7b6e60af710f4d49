"""No job writes over a file that it, or an earlier run of the same job, has not written."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipelines import export, pretrain_prior
from pipelines.config.enhance import EnhanceSettings
from pipelines.config.prepare import PrepareSettings
from pipelines.data.listing import DataError
from pipelines.data.manifest import ManifestError, begin
from pipelines.evaluation.job import refuse_foreign_files
from pipelines.inference.progress import Done
from pipelines.inference.work import find_work

MINE = b"mine"


@pytest.fixture
def photos(tmp_path: Path) -> str:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "photos" / "a.jpg")
    return str(tmp_path / "photos")


def test_an_export_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "model.pt2").write_bytes(MINE)
    assert export.main(["--model", "bundled", "--output", str(tmp_path), "--format", "pt2"]) == 2
    told = capsys.readouterr().err
    assert told == f"error: output: {tmp_path / 'model.pt2'} exists; choose another folder, or remove it\n"
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [MINE]


def test_an_evaluation_leaves_a_trainings_folder_alone_and_renews_its_own(tmp_path: Path):
    refuse_foreign_files(str(tmp_path / "new"))
    (tmp_path / "report.html").write_bytes(MINE)
    with pytest.raises(DataError, match=r"holds a report\.html that no evaluation has written; choose another folder"):
        refuse_foreign_files(str(tmp_path))
    (tmp_path / "metrics.json").write_text("{}")
    refuse_foreign_files(str(tmp_path))


def test_an_enhancement_begins_only_where_no_other_file_has_the_name_of_a_result(tmp_path: Path, photos: str):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_bytes(MINE)
    settings = EnhanceSettings(model="bundled", input=photos, output=str(out))
    assert len(find_work(settings, "1", Done(str(out)))[0]) == 1
    (out / "a.jpg").write_bytes(MINE)
    with pytest.raises(DataError, match=r"holds a a\.jpg that no enhancement wrote; choose another"):
        find_work(settings, "1", Done(str(out)))
    Done(str(out)).write_report()  # as a run does before its first result; killed, it has written others too
    assert len(find_work(settings, "1", Done(str(out)))[0]) == 1


def test_a_preparation_does_not_write_over_the_manifest_of_something_else(tmp_path: Path, photos: str):
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.parquet").write_bytes(MINE)
    with pytest.raises(ManifestError, match=r"holds manifest\.parquet, which no preparation has written"):
        begin(PrepareSettings(input=photos, output=str(out)))
    assert [each.name for each in out.iterdir()] == ["manifest.parquet"]


def test_a_prior_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "light_prior.safetensors").write_bytes(MINE)
    assert pretrain_prior.main(["--output", str(tmp_path)]) == 2
    assert "light_prior.safetensors exists; choose another folder" in capsys.readouterr().err
