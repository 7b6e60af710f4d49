"""Several sets as one: settings, listing, what is held out, the stream, what a run remembers and tells."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from PIL import Image

from lle.config import DataSettings
from lle.training.loop import NonFiniteError
from pipelines.config.loading import differences, load_settings
from pipelines.config.prepare import PrepareSettings
from pipelines.config.train import RunSettings
from pipelines.data.decoding import Decode
from pipelines.data.listing import DataError
from pipelines.data.manifest import begin, finish
from pipelines.data.part import pending_parts, prepare_part
from pipelines.data.photo_sets import JoinedSets, Photos, joined, list_photos, names_hash
from pipelines.data.pinned import PHOTOS, photos_of_run
from pipelines.data.streams import RayStream
from pipelines.data.training_photos import find_photos
from pipelines.training.record import datasets
from pipelines.training.worker import photos_of, validation_set

LEVELS = {"mine": 10, "night": 60, "day": 150, "noon": 200}


def write(folder: Path, count: int) -> str:
    """Photos whose red is their number and whose green tells their set."""
    folder.mkdir()
    for index in range(count):
        Image.new("RGB", (30, 20), (index, LEVELS[folder.name], 0)).save(folder / f"{folder.name}{index}.png")
    return str(folder)


def prepared(uri: str) -> str:
    """The same photos in shards."""
    settings = PrepareSettings(input=uri, output=f"{uri}-prepared", format="png", similar_bits=0)
    begin(settings)
    for part in pending_parts(settings, []):
        prepare_part(settings, part)
    finish(settings)
    return settings.output


@pytest.fixture
def data(tmp_path: Path) -> DataSettings:
    """Three photos in a folder and nine in shards, dark; two sets of well-lit ones."""
    mine, night = write(tmp_path / "mine", 3), prepared(write(tmp_path / "night", 9))
    well_lit = write(tmp_path / "day", 5), write(tmp_path / "noon", 4)
    return DataSettings(dark=(mine, night), well_lit=well_lit, validation_images=3)


# --- settings ---------------------------------------------------------------------------------------------------------


def given_as(*arguments: str) -> DataSettings:
    return load_settings(["--preset", "none", *arguments, "--data.well_lit", "day"]).settings.data


def test_a_list_is_given_on_the_command_line_in_files_and_in_presets(tmp_path: Path):
    wanted = ("./mine", "s3://a/split=2/night")
    assert given_as("--data.dark", *wanted, "--data.dark-weights", "3", "1").dark == wanted
    file = tmp_path / "sets.yaml"
    file.write_text(f"data:\n  dark: [{wanted[0]}, {wanted[1]}]\n  dark_weights: [3, 1]\n")
    for option in ("--config", "--preset"):
        found = load_settings([option, str(file), "--data.well_lit", "day"]).settings.data
        assert (found.dark, found.dark_weights) == (wanted, (3, 1))


@pytest.mark.parametrize("uri", ["night", "s3://lake/photos/date=2024", "a=3", "a b,c"])
def test_one_set_is_read_and_kept_as_plain_text(tmp_path: Path, uri: str):
    assert given_as("--data.dark", uri).dark == given_as(f"--data.dark={uri}").dark == (uri,)
    loaded = load_settings(["--data.dark", uri, "--data.well_lit", "day"])
    assert loaded.settings.data.model_dump()["dark"] == loaded.settings.data.model_dump(mode="json")["dark"] == uri
    file = tmp_path / "kept.yaml"
    file.write_text(differences(loaded.settings, loaded))
    assert f"  dark: {uri} " in file.read_text()
    assert load_settings(["--config", str(file)]).settings == loaded.settings
    assert DataSettings().model_dump()["dark"] == ""


def test_settings_with_several_sets_are_read_back_as_they_were_kept(tmp_path: Path):
    loaded = load_settings(
        ["--data.dark", "a", "b=2", "--data.well_lit", "c", "d", "--data.well_lit_weights", "2", "1"]
    )
    (tmp_path / "kept.yaml").write_text(differences(loaded.settings, loaded))
    assert load_settings(["--config", str(tmp_path / "kept.yaml")]).settings == loaded.settings
    assert RunSettings(**json.loads(json.dumps(loaded.settings.model_dump()))) == loaded.settings


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a", "b", "--data.dark_weights", "1"], "data.dark_weights: 1 weights, and 2 sets in data.dark; give one for"),
        (["a", "b", "--data.dark_weights", "1", "0"], "data.dark_weights: [1, 0] is not allowed; give any number of"),
        (["a", "b", "--data.dark_weights", "0.7", "0.3"], "each a whole number from 1 to 1000"),
        (["a", "day/"], "data.dark and data.well_lit: both name day/; the two must differ"),
        (["a", ""], "data.dark: [a, ''] is not allowed"),
        (["a", "b", "c", "--data.validation_images", "2"], "data.validation_images: 2 photos cannot come from each of"),
    ],
)
def test_mistakes_in_lists_are_one_sentence(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        given_as("--data.dark", *arguments)
    said = capsys.readouterr().err.replace("'1', '0'", "1, 0")
    assert end.value.code == 2 and said.count("\n") == 1 and told in said


# --- what is found ----------------------------------------------------------------------------------------------------


def test_every_set_gives_an_equal_share_of_the_validation_whatever_sizes_and_weights(data: DataSettings):
    photos = find_photos(RunSettings(data=data))
    assert [len(each.paths) for each in photos.held_out_dark.sets] == [2, 1]
    assert [len(each.paths) for each in photos.dark.sets] == [1, 8]
    assert not set(photos.dark.paths) & set(photos.held_out_dark.paths)
    weighted = data.model_copy(update={"dark_weights": (5, 1), "well_lit_weights": (1, 7)})
    assert find_photos(RunSettings(data=weighted)) == photos
    shown = validation_set(RunSettings(data=data), photos, lambda path, reason: pytest.fail(path))
    assert [int(picture[1, 0, 0]) for picture in shown.dark] == [10, 10, 60] and len(shown.well_lit) == 3


def test_each_mistake_names_the_uri_of_its_own_set(data: DataSettings, tmp_path: Path):
    def refusal(*dark: str, **changes: int) -> str:
        with pytest.raises(DataError) as refused:
            find_photos(RunSettings(data=data.model_copy(update={"dark": dark, **changes})))
        assert "\n" not in str(refused.value)
        return str(refused.value)

    mine, night = data.dark
    (tmp_path / "empty").mkdir()
    assert refusal(mine, f"{tmp_path}/gone") == f"data.dark: {tmp_path}/gone does not exist; check the path"
    assert f"data.dark: {tmp_path}/empty holds no picture" in refusal(f"{tmp_path}/empty", night)
    few = f"data.dark: {mine} holds 3 readable pictures, of which data.validation_images keeps 3 out of training"
    assert few in refusal(mine, night, validation_images=6)
    assert f"data.dark: {mine}/../mine and {mine} hold the same files" in refusal(f"{mine}/../mine", mine)
    assert refusal(str(tmp_path), mine).endswith(f"{mine} lies in {tmp_path}; name two folders beside each other")
    assert "data.dark and data.well_lit: " in refusal(mine, str(tmp_path / "night" / ".." / "day"))
    (tmp_path / "copy").mkdir()
    for file in Path(mine).iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    assert f"{mine} and {tmp_path}/copy hold the same files; the two sets must differ" in refusal(
        mine, str(tmp_path / "copy")
    )


def test_what_is_no_photo_is_told_with_its_set(data: DataSettings):
    (Path(data.dark[0]) / "raw.dng").write_bytes(b"")
    (line,) = find_photos(RunSettings(data=data)).left_out
    assert line.startswith(f"data.dark: {data.dark[0]}: left out: 1 .dng (raw")


# --- the stream -------------------------------------------------------------------------------------------------------


class LocalStream(RayStream):
    """Decoded where it is taken, without Ray."""

    def _run(self) -> Generator[dict[str, np.ndarray]]:
        for batch in self._decode.batches():
            self._tell(batch)
            yield batch


def listed(*uris: str) -> Photos:
    return joined([list_photos(uri, "data.dark", DataSettings()) for uri in uris])


def stream(photos: Photos, weights: tuple[int, ...], row: int = 0, worker: int = 0, workers: int = 1, **told):
    decode = Decode(photos, 8, 5, row + worker, workers, threads=1, max_pixels=10**6, weights=weights)
    return LocalStream(decode, told.get("told", lambda path, reason: pytest.fail(f"{path}: {reason}")))


def taken(source: RayStream, count: int) -> list[tuple[int, int]]:
    """Level of the set, and number, of the next photos."""
    return [(int(picture[0, 0, 1]), int(picture[0, 0, 0])) for picture in source.take(count)]


def test_batches_hold_folders_and_shards_in_the_ratio_of_the_weights(data: DataSettings):
    mixed = stream(listed(*data.dark), (3, 1))
    for _ in range(4):
        assert Counter(level for level, _ in taken(mixed, 8)) == {10: 6, 60: 2}
    mixed.close()


def test_without_weights_an_epoch_shows_each_photo_of_all_sets_once(data: DataSettings):
    together = stream(listed(*data.dark), ())
    assert together.photos == 12
    for _ in range(3):
        assert sorted(taken(together, 12)) == [(10, index) for index in range(3)] + [(60, index) for index in range(9)]
    together.close()


def test_a_pass_over_mixed_sets_shows_every_photo(data: DataSettings):
    mixed = stream(listed(*data.dark), (1, 3))
    assert mixed.photos == 12 and len(set(taken(mixed, mixed.photos))) == 12
    mixed.close()
    assert stream(listed(*data.dark), (30, 10)).photos == 36  # 27 of three, 9 of nine


LEGS = st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 5)), min_size=1, max_size=3)


@examples(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(legs=LEGS, weights=st.sampled_from([(), (1, 1), (3, 1), (1, 4)]))
def test_stopped_anywhere_and_resumed_on_other_workers_nothing_is_shown_twice_in_an_epoch(
    data: DataSettings, legs: list[tuple[int, int]], weights: tuple[int, ...]
):
    photos, row, shown = listed(*data.dark), 0, list[tuple[int, int]]()
    for workers, steps in legs:
        streams = [stream(photos, weights, row, worker, workers) for worker in range(workers)]
        for _ in range(steps):
            shares = [taken(each, 6 // workers) for each in streams]
            shown += [each for together in zip(*shares, strict=True) for each in together]
            row += 6
        for each in streams:
            each.close()
    sets = {10: 3, 60: 9} if weights else {(10, 60): 12}
    for levels, count in sets.items():
        of_set = [each for each in shown if each[0] in np.atleast_1d(levels)]
        for start in range(0, len(of_set), count):
            epoch = of_set[start : start + count]
            assert len(set(epoch)) == len(epoch)
    assert len(shown) == row


def test_a_photo_that_breaks_gives_its_row_to_one_of_its_own_set(data: DataSettings):
    photos, told = listed(*data.dark), set[str]()
    broken = Path(photos.sets[0].paths[1])
    broken.write_bytes(b"rubbish")
    mixed = stream(photos, (1, 1), told=lambda path, reason: told.add(path))
    assert Counter(level for level, _ in taken(mixed, 16)) == {10: 8, 60: 8} and told == {str(broken)}
    mixed.close()
    for path in photos.sets[0].paths:
        Path(path).write_bytes(b"rubbish")
    with pytest.raises(DataError, match=f"{data.dark[0]}: none of its 3 pictures can be decoded"):
        taken(stream(photos, (1, 1)), 1)


def test_photos_of_steps_that_failed_are_those_that_were_shown(data: DataSettings):
    settings = RunSettings(data=data.model_copy(update={"dark_weights": (3, 1)}))
    photos = find_photos(settings)
    paths = photos_of(NonFiniteError("", {"dark": [*range(8)]}), settings, photos)["dark"]
    assert Counter("mine" in path and "night" not in path for path in paths) == {True: 6, False: 2}


# --- what a run remembers and tells -----------------------------------------------------------------------------------


@pytest.fixture
def began(data: DataSettings, tmp_path: Path) -> tuple[RunSettings, Path]:
    """Settings of a run on several sets that goes on, and its folder."""
    settings = RunSettings(name="run", data=data)
    photos_of_run(settings, str(tmp_path / "run"))
    return settings.model_copy(update={"resume": True}), tmp_path / "run"


def test_a_resumed_run_sees_the_same_photos_of_each_set(began: tuple[RunSettings, Path]):
    settings, run = began
    first = photos_of_run(settings, str(run))
    Image.new("RGB", (30, 20), (9, 10, 0)).save(Path(settings.data.dark[0]) / "later.png")
    again = photos_of_run(settings, str(run))
    assert again == first and isinstance(again.dark, JoinedSets)
    assert not any("later" in path for path in again.dark.paths + again.held_out_dark.paths)


def test_a_changed_list_is_refused(began: tuple[RunSettings, Path]):
    settings, run = began
    for dark in (settings.data.dark[::-1], settings.data.dark[:1], (*settings.data.dark, "more")):
        changed = settings.model_copy(update={"data": settings.data.model_copy(update={"dark": dark})})
        with pytest.raises(DataError, match=r"data\.dark: the run run began with \["):
            photos_of_run(changed, str(run))


def test_a_list_that_was_tampered_with_is_refused(began: tuple[RunSettings, Path]):
    settings, run = began
    content = json.loads(gzip.decompress((run / PHOTOS).read_bytes()))
    mine, night = content["sets"]["dark"]["sets"]
    for forged in ([mine], [night, mine], [mine, mine], [], [mine, night | {"uri": "/etc"}], [mine, night, {}], 7):
        sets = content["sets"] | {"dark": {"sets": forged}}
        (run / PHOTOS).write_bytes(gzip.compress(json.dumps(content | {"sets": sets}).encode()))
        with pytest.raises(DataError, match="begin another run"):
            photos_of_run(settings, str(run))


def test_one_set_is_written_down_as_it_always_was(data: DataSettings, tmp_path: Path):
    one = RunSettings(name="run", data=data.model_copy(update={"dark": data.dark[1:], "well_lit": data.well_lit[:1]}))
    photos = photos_of_run(one, str(tmp_path / "run"))
    content = json.loads(gzip.decompress((tmp_path / "run" / PHOTOS).read_bytes()))
    assert content["chosen_by"]["dark"] == data.dark[1]
    assert content["sets"]["dark"].keys() == {"uri", "paths", "refused", "left_out"}
    assert photos_of_run(one.model_copy(update={"resume": True}), str(tmp_path / "run")) == photos


def test_mlflow_is_told_of_each_set_with_its_hash(data: DataSettings):
    photos = find_photos(RunSettings(data=data))
    told = {each.dataset.name: each.dataset for each in datasets(photos)}
    assert told.keys() == {
        f"{name}_{number}" for name in ("dark", "well_lit", "held_out_dark", "held_out_well_lit") for number in (1, 2)
    }
    for number, each in enumerate(photos.dark.sets, start=1):
        assert json.loads(told[f"dark_{number}"].source) == {"uri": each.uri}
        assert json.loads(told[f"dark_{number}"].profile) == {"photos": len(each.paths), "sha256": names_hash(each)}
