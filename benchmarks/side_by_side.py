"""Models side by side on LOL eval15 and on pairs of SICE that no training of ours sees, by the job that compares.

    python -m benchmarks.side_by_side --data DIR --output DIR

DIR of --data holds the photos and weights; the report goes into --output, the table into docs/benchmarks.md.
`--pictures` makes the pictures of docs/compare.md instead, in headless Chromium, from the samples that come with
installed packages.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, told
from benchmarks.pretrained import linked
from benchmarks.split import held_out_pairs
from pipelines.compare import main as compare

IMAGES = Path(__file__).parents[1] / "docs" / "images"
OURS = "bundled"
BASELINES = ("exposure-shoulder", "auto-exposure")
PUBLISHED = {
    "Zero-DCE++ fast": ("zero-dce++/12", "zero_dcepp/Epoch99.pth"),
    "CLIP-LIT": ("clip-lit", "cliplit/enhancement_model.pth"),
}
SETS = {"lol_eval15": "LOL", "sice_held_out": "SICE"}
COLUMNS = {"psnr": ("PSNR", 2), "ssim": ("SSIM", 3), "lpips": ("LPIPS", 3)}
WINDOW, SHOWN_HEIGHT = {"width": 1180, "height": 900}, 2010  # px


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    if arguments.pictures:
        write_pictures()
        return 0
    peers = arguments.data / "weights" / "peers"
    models = [OURS, *(f"baseline:{name}" for name in BASELINES)]
    models += [f"{name}=published:{network}={peers / file}" for name, (network, file) in PUBLISHED.items()]
    with TemporaryDirectory() as folder:
        link(arguments.data, Path(folder))
        dark, truth = ([f"{folder}/{name}{end}" for name in SETS] for end in ("", "_truth"))
        photos = ["--data.dark", *dark, "--data.truth", *truth]
        places = ["--weights", str(arguments.data / "weights"), "--output", str(arguments.output)]
        status = compare(["--models", *models, *photos, *places])
    if status:
        return status
    found = json.loads((arguments.output / "metrics.json").read_text(encoding="utf-8"))
    results = {"machine": machine(), "parameters": {}, "sets": {}}
    results["parameters"] = {name: each["parameters"] for name, each in found["models"].items()}
    for name, each in found["sets"].items():
        means = {model: {metric: one["mean"] for metric, one in by.items()} for model, by in each["models"].items()}
        photos = next(iter(each["models"].values()))["psnr"]["photos"]
        results["sets"][name] = {"photos": photos, "means": means, "against": each[f"{OURS} against"]}
    save("side_by_side", results)
    replace_section(PAGE, "side by side", as_text(results))
    return 0


def link(data: Path, into: Path) -> None:
    """Folders of links: each set of pairs, and its ground truth beside it."""
    lol, sice = data / "test_paired" / "lol_eval15", held_out_pairs(data)
    for end, kind in (("", "low"), ("_truth", "high")):
        linked(into / f"lol_eval15{end}", ((photo.name, photo) for photo in sorted((lol / kind).iterdir())))
        linked(into / f"sice_held_out{end}", ((f"{pair['scene']}.jpg", data / pair[kind]) for pair in sice))


def as_text(results: dict[str, Any]) -> str:
    """The section of the page: a row for each model, the best of each column in bold, and what ours is ahead by."""
    sets = {label: results["sets"][name] for name, label in SETS.items()}
    headings, cells = ["", "parameters"], {name: [f"{count:,}"] for name, count in results["parameters"].items()}
    for label, each in sets.items():
        for metric, (heading, digits) in COLUMNS.items():
            shown = {name: f"{each['means'][name][metric]:.{digits}f}" for name in cells}
            best = (min if metric == "lpips" else max)(shown.values(), key=float)
            headings.append(f"{label} {heading}" if metric == "psnr" else heading)
            for name, row in cells.items():
                row.append(f"**{shown[name]}**" if shown[name] == best else shown[name])
        headings += [f"{label}: {OURS} ahead by, dB", "on photos"]
        for name, row in cells.items():
            found = each["against"].get(name)
            row.append(f"{found['gain']:.2f} ({found['low']:.2f} to {found['high']:.2f})" if found else "")
            row.append(f"{found['better']} of {found['photos']}" if found else "")
    return f"{told(results['machine'])}\n\n" + markdown_table(headings, [[name, *row] for name, row in cells.items()])


def write_pictures() -> None:
    """The report of a comparison and the page that asks people, as docs/compare.md shows them."""
    from PIL import Image

    from pipelines.data.samples import write_quickstart_data

    models = [OURS, *(f"baseline:{name}" for name in BASELINES)]
    with TemporaryDirectory() as folder, _chromium() as browser:
        photos, out = write_quickstart_data(Path(folder, "samples"), well_lit=0, dark=0), Path(folder, "out")
        dark = photos.pairs_dark.rename(Path(folder, "dark_samples"))
        pairs = ["--data.dark", str(dark), "--data.truth", str(photos.pairs_truth)]
        compare(["--models", *models, *pairs, "--output", str(out)])
        tab = browser.new_page(viewport=WINDOW)
        tab.goto((out / "report.html").as_uri())
        tab.screenshot(path=Path(folder, "comparison.png"), full_page=True)
        with _asking(dark, models, Path(folder, "votes.jsonl")) as address:
            tab.goto(address)
            tab.get_by_role("textbox").fill("ann")
            tab.get_by_role("button", name="Begin").click()
            tab.locator(".pair:not(.waiting)").wait_for()
            tab.screenshot(path=Path(folder, "vote.png"))
        for name in ("comparison", "vote"):
            picture = Image.open(Path(folder, f"{name}.png")).convert("RGB")
            picture.crop((0, 0, picture.width, min(picture.height, SHOWN_HEIGHT))).save(
                IMAGES / f"{name}.jpg", quality=85
            )


@contextmanager
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def _asking(photos: Path, models: Sequence[str], votes: Path) -> Iterator[str]:
    """The page that asks people, in a thread; its address."""
    import uvicorn

    from pipelines.config.vote import VotingSettings
    from pipelines.models.resolve import find_models
    from pipelines.reporting.local_page import HOST, listening
    from pipelines.voting.booth import Booth
    from pipelines.voting.job import voting_app

    settings = VotingSettings(models=tuple(models), photos=str(photos), votes=str(votes))
    listener = listening(0)
    app = voting_app(Booth(settings, find_models(models, ""), votes))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://{HOST}:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="folder with the photos and weights")
    what.add_argument("--pictures", action="store_true", help="make the pictures of docs/compare.md")
    parser.add_argument("--output", type=Path, default=Path("runs/side_by_side"), help="folder for the report")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
