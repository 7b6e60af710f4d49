"""README's first picture and those of docs/pictures.md: photos that anybody may show, by one exposure without learning,
by the best published model at hand and by the bundled model.

    python -m benchmarks.pictures --data DIR

DIR holds train/free and weights/peers. The bundled model was trained on none of these photos, or the command refuses.
It writes the pictures and the page's tables; what the page says of each picture is written by hand: look at every one
again. `--model URI --out FOLDER` makes the pictures of another model and leaves README and the page alone.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import numpy as np
from PIL import Image

from benchmarks.pages import markdown_table, replace_section
from benchmarks.quality import PUBLISHED
from lle.images import from_tensor, read, resize, to_tensor
from lle.metrics import over_exposed
from lle.model import ASSETS, BUNDLED, enhance
from pipelines.reporting.pictures import side_by_side, stacked

if TYPE_CHECKING:
    from pipelines.models.named import NamedModel

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "pictures.md"
BASELINE, OURS = "one exposure, without learning", "bundled model"
PEER = "Zero-DCE++ (s = 12)"  # of the published rows of the quality table the best on LOL and on SICE
HEIGHT, WIDTH, PART = 220, 330, 150  # px of a picture in README; of one here the width, and the height of its part
QUALITY, TITLE = 84, 30  # of JPEG; letters of a photo's title


class Scene(NamedTuple):
    """A photo of docs/pictures.md.

    Attributes:
        kind: of scene; names the file, too.
        photo: below train/free.
        part: middle of what is shown pixel for pixel, as shares of width and height.
    """

    kind: str
    photo: str
    part: tuple[float, float]

    @property
    def file(self) -> str:
        """Its picture, below docs/images."""
        return f"scenes/{self.anchor}.jpg"

    @property
    def anchor(self) -> str:
        """Of its heading on the page."""
        return self.kind.replace(" ", "-")


FIRST = (
    "dark/matheustt_hidden_temple_custom.jpg",
    "dark/deepin_mike_yukhtenko_a2kd4b0kk4s.jpg",
    "dark/immich_japanese_shop.jpg",
    "dark/gb82_pixel_lossless.jpg",
)
SCENES = (
    Scene("night street", "dark/matheustt_sangenjaya_alley_4k.jpg", (0.2, 0.5)),
    Scene("people at night", "dark/clic2025_a2a946cc516f9eec0f141da3c31a96df94fe342c651af46f.jpg", (0.6, 0.85)),
    Scene("backlit person", "dark/maxscene_aquarium.jpg", (0.35, 0.75)),
    Scene("interior", "dark/matheustt_glamping_with_a_view_custom.jpg", (0.8, 0.5)),
    Scene("snow", "well_lit/deepin_lucian_dachman_qxo2pbn7eku.jpg", (0.5, 0.5)),
    Scene("low-key art", "dark/squeeze_margaret_jaszowska_qyuft35t_aw.jpg", (0.5, 0.5)),
    Scene("sunset", "dark/gb82_sunset_lossless.jpg", (0.75, 0.72)),
    Scene("fog", "dark/matheustt_gloomy_weather_4k.jpg", (0.7, 0.8)),
    Scene("good daylight", "well_lit/popos_kait_herzog_8242.jpg", (0.35, 0.4)),
    Scene("stage lights", "dark/squeeze_raynaldy_dachlan_ddbgiqkivj8.jpg", (0.5, 0.5)),
    Scene("colour cast", "dark/matheustt_meguro_river_4k.jpg", (0.3, 0.45)),
    Scene("very dark", "dark/kirby_tent_in_the_woods.jpg", (0.6, 0.7)),
)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    folder, out = arguments.data / "train" / "free", arguments.out or DOCS / "images"
    if arguments.model == BUNDLED:
        refuse_trained_on([*FIRST, *(scene.photo for scene in SCENES)])
    models = find_models(arguments.data, arguments.model)
    first = {label: model for label, model in models.items() if label != PEER}
    first_rows = [[*pictures_of(first, folder / photo).values()] for photo in FIRST]
    _save(
        stacked([first_row(row, [*first] if index == 0 else ()) for index, row in enumerate(first_rows)]),
        out / "before_after.jpg",
    )
    rows = []
    for scene in SCENES:
        pictures = pictures_of(models, folder / scene.photo)
        _save(sheet(pictures, scene.part), out / scene.file)
        rows.append([f"[{scene.kind}](#{scene.anchor})", *map(level, pictures.values())])
    if not arguments.out:
        replace_section(PAGE, "levels", f"{made(models[OURS])}\n\n{markdown_table(['', *models], rows)}")
        replace_section(PAGE, "credits", credits_table(folder / "SOURCES.csv"))
    return 0


def find_models(data: Path, ours: str) -> dict[str, NamedModel]:
    """What stands in a row, by its label."""
    from pipelines.models.resolve import find_model

    network, file = PUBLISHED[PEER]
    ways = {
        "input": "baseline:input",
        BASELINE: "baseline:exposure-shoulder",
        PEER: f"published:{network}={data / 'weights' / 'peers' / file}",
        OURS if ours == BUNDLED else ours: ours,
    }
    return {label: find_model(uri, "") for label, uri in ways.items()}


def refuse_trained_on(photos: Sequence[str]) -> None:
    """See that the bundled model was trained on none of the photos.

    Raises:
        SystemExit: it was.
    """
    with (ASSETS / "CREDITS.csv").open(encoding="utf-8", newline="") as lines:
        seen = {row["photo"] for row in csv.DictReader(lines)}
    if known := [photo for photo in photos if Path(photo).name in seen]:
        raise SystemExit(f"{known[0]}: the bundled model was trained on it; show another photo of its kind")


def pictures_of(models: Mapping[str, NamedModel], photo: Path) -> dict[str, np.ndarray]:
    """What each model makes of a photo at its own size, uint8, (H, W, 3), by label."""
    image = to_tensor(read(photo))
    return {label: from_tensor(enhance(model.network, image)) for label, model in models.items()}


def first_row(pictures: Sequence[np.ndarray], labels: Sequence[str]) -> np.ndarray:
    """A row of README's picture: the middle of each in one proportion."""
    height, width = pictures[0].shape[:2]
    scale = min(height / HEIGHT, width / WIDTH)
    middles = [cut(each, (round(scale * HEIGHT), round(scale * WIDTH))) for each in pictures]
    return side_by_side([resize(each, (HEIGHT, WIDTH)) for each in middles], HEIGHT, labels)


def sheet(pictures: Mapping[str, np.ndarray], part: tuple[float, float]) -> np.ndarray:
    """A scene as its picture shows it: all of it, labelled, and below a part of it pixel for pixel."""
    height, width = next(iter(pictures.values())).shape[:2]
    low = round(WIDTH * height / width)
    wholes = [resize(each, (low, WIDTH)) for each in pictures.values()]
    parts = [cut(each, (PART, WIDTH), part) for each in pictures.values()]
    return stacked([side_by_side(wholes, low, [*pictures]), side_by_side(parts, PART)])


def cut(picture: np.ndarray, size: tuple[int, int], middle: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """Some rows and columns of a picture, as near around a middle, shares of width and height, as they can be."""
    left, top = (
        min(max(0, round(share * there - wanted / 2)), there - wanted)
        for share, there, wanted in zip(middle, picture.shape[1::-1], size[::-1], strict=True)
    )
    return np.ascontiguousarray(picture[top : top + size[0], left : left + size[1]])


def level(picture: np.ndarray) -> str:
    """Mean of all values, and the share of pixels with a burnt channel."""
    return f"{picture.mean() / 255:.2f}, {float(over_exposed(to_tensor(picture)[None])):.1%}"


def credits_table(sources: Path) -> str:
    """Kind, title, author and terms of each scene's photo, as the list of sources has them."""
    with sources.open(encoding="utf-8", newline="") as lines:
        listed = {row["file"].removeprefix("train/free/"): row for row in csv.DictReader(lines)}
    rows = []
    for scene in SCENES:
        photo = listed[scene.photo]
        repository, _, place = photo["source"].partition("@")
        revision, _, path = place.partition(":")
        title, note = Path(path).stem[:TITLE], photo["note"]
        link = note if note.startswith("https://") else f"https://github.com/{repository}/blob/{revision}/{quote(path)}"
        rows.append([scene.kind, f"[{title}]({link})", photo["author"] or "not named there", photo["licence"]])
    return markdown_table(["scene", "photo", "by", "terms"], rows)


def made(model: NamedModel) -> str:
    """Which weights made the pictures, and what the table below it holds."""
    return (
        f"Bundled model: weights `{model.version}`, {model.parameters:,} parameters; {datetime.now(UTC):%Y-%m-%d}. "
        "Mean of all values, and share of pixels with a channel at 250 of 255 or more:"
    )


def _save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=QUALITY, optimize=True)
    print(path)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos and weights")
    parser.add_argument("--model", default=BUNDLED, metavar="URI", help="the model of the last column, as for evaluate")
    parser.add_argument("--out", type=Path, help="folder for the pictures; README and the page stay as they are")
    arguments = parser.parse_args(argv)
    if arguments.model != BUNDLED and not arguments.out:
        parser.error("--model: README and the page show the bundled model; give --out, too")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
