"""The page for browsers in headless Chromium: built, opened from a server, from a disk and without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lle
from lle.config import EnhancerSettings
from lle.enhancers import build_enhancer
from lle.exporting import save_tiles
from lle.images import read
from lle.model import Model
from pipelines.export import main as export
from pipelines.models.export import FORMATS, TOLERANCE, largest_difference, load_tiles
from tests.integration.test_browser import chromium, fits_the_width, page  # noqa: F401  # fixtures

pytestmark = pytest.mark.drill
ROOT = Path(__file__).parents[2]
PHOTOS = ROOT.parent / "shared" / "data" / "train" / "free" / "dark"
DONE, WAIT = re.compile("is enhanced"), 300_000  # ms


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the bundled model, made in a copy, by the commands of `make web`."""
    if not shutil.which("npm"):
        pytest.skip("no npm on this machine: apt-get install npm")
    root = tmp_path_factory.mktemp("web")
    shutil.copytree(ROOT / "web", root / "web", ignore=shutil.ignore_patterns("node_modules", "dist", "model"))
    shutil.copytree(ROOT / "pipelines" / "templates", root / "pipelines" / "templates")
    assert export(["--model", "bundled", "--output", str(root / "web" / "model"), "--format", "tiles"]) == 0
    for command in (
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        ["node", "build.mjs", "model", "dist"],
    ):
        subprocess.run(command, cwd=root / "web", check=True, timeout=300)
    return root / "web" / "dist"


@pytest.fixture(scope="module")
def address(built: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(built))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real dark photo of several tiles, without loss."""
    if not PHOTOS.is_dir():
        pytest.skip(f"no photos at {PHOTOS}")
    file = tmp_path_factory.mktemp("photos") / "night.png"
    with Image.open(PHOTOS / "kirby_dark_forest.jpg") as picture:
        picture.convert("RGB").resize((1301, 867), Image.Resampling.BICUBIC).save(file)
    return file


def test_in_tiles_local_light_is_the_same(tmp_path: Path):
    torch.manual_seed(0)
    settings = EnhancerSettings(arch="exposure", thumbnail_size=48, width=8, denoise=8, local=0.7)
    enhancer = build_enhancer(settings)
    with torch.no_grad():
        for parameter in enhancer.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model = Model(enhancer.requires_grad_(False), settings)
    save_tiles(model, tmp_path)
    sizes = ((2, 3), (601, 530))  # less than a window, and four of them
    assert largest_difference(model, load_tiles(tmp_path), sizes) < TOLERANCE / 4


@pytest.mark.parametrize(("format", "package"), [("litert", "litert_torch"), ("coreml", "coremltools")])
def test_the_bundled_model_is_exported_for_phones(format: str, package: str, tmp_path: Path, capsys):
    pytest.importorskip(package, reason=f"needs the extra `{format}`")
    assert export(["--model", "bundled", "--output", str(tmp_path / "out"), "--format", format]) == 0
    told = capsys.readouterr().out
    assert ("not compared with the model" if format == "coreml" else "of 255 at most, checked at ") in told
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == sorted(FORMATS[format].files)


def enhance(tab, file: Path) -> None:
    tab.get_by_label("Choose a photo").set_input_files(file)
    tab.locator("#status", has_text=DONE).wait_for(timeout=WAIT)


def saved(tab, folder: Path) -> Path:
    with tab.expect_download(timeout=WAIT) as download:
        tab.get_by_role("button", name="Download").click()
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other)


def test_what_is_saved_is_what_python_makes_of_the_photo(page, address: str, photo: Path, tmp_path: Path):  # noqa: F811
    page.goto(address)
    assert "never leaves this device" in page.locator(".promise").inner_text() and fits_the_width(page)
    numbers = list(photo.read_bytes())
    page.evaluate(
        "numbers => { const data = new DataTransfer();"
        "data.items.add(new File([new Uint8Array(numbers)], 'dropped.png', { type: 'image/png' }));"
        "window.dispatchEvent(new DragEvent('drop', { dataTransfer: data })); }",
        numbers,
    )
    page.locator("#status", has_text=DONE).wait_for(timeout=WAIT)
    assert "shown smaller, saved at full size" in page.locator("#status").inner_text()
    assert fits_the_width(page)
    found, wanted = read(saved(page, tmp_path)), np.asarray(lle.load("bundled").enhance(photo))
    assert wanted.mean() > read(photo).mean() + 10 and apart(found, wanted).max() <= 2
    page.get_by_role("slider", name="strength").press("Home")
    page.locator("#status", has_text=DONE).wait_for(timeout=WAIT)
    assert apart(read(saved(page, tmp_path)), read(photo)).max() <= 1


def test_it_works_from_a_disk(chromium, built: Path, photo: Path, tmp_path: Path):  # noqa: F811
    tab = chromium.new_page()
    tab.goto((built / "index.html").as_uri())
    enhance(tab, photo)
    tab.get_by_role("slider", name="strength").press("End")
    found = read(saved(tab, tmp_path))  # at once: what is shown for the new strength is not waited for
    assert apart(found, np.asarray(lle.load("bundled").enhance(photo, 1.5))).max() <= 2
    tab.close()


def test_once_opened_it_needs_no_network(chromium, built: Path, photo: Path):  # noqa: F811
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(built))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = chromium.new_context()
        tab = context.new_page()
        tab.goto(f"http://127.0.0.1:{server.server_port}/")
        tab.evaluate("navigator.serviceWorker.ready.then(() => true)")
        server.shutdown()
    tab.reload()
    enhance(tab, photo)
    assert tab.locator("#result").is_visible()
    context.close()


def test_a_jpeg_lies_upright_and_keeps_who_took_it(chromium, address: str, photo: Path, tmp_path: Path):  # noqa: F811
    exif = Image.Exif()
    exif[274], exif[315] = 6, "Ada"
    with Image.open(photo) as picture:
        picture.rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=97)
    tab = chromium.new_page()
    tab.goto(address)
    enhance(tab, tmp_path / "turned.jpg")
    file = saved(tab, tmp_path)
    with Image.open(file) as found:
        assert file.name == "turned-enhanced.jpg" and found.size == (1301, 867)
        assert dict(found.getexif()) == {274: 1, 315: "Ada"}
    wanted = np.asarray(lle.load("bundled").enhance(tmp_path / "turned.jpg"))
    assert apart(read(file), wanted).mean() < 2
    tab.close()


def test_what_it_cannot_do_is_told_in_a_sentence(chromium, address: str, tmp_path: Path):  # noqa: F811
    tab = chromium.new_page()
    tab.goto(address)
    (tmp_path / "notes.txt").write_text("no photo")
    Image.new("1", (11_000, 10_000)).save(tmp_path / "huge.png")
    for name, sentence in {
        "notes.txt": "this browser cannot read it as a photo; try a JPEG, PNG, WebP or AVIF.",
        "huge.png": "11000 × 10000 pixels are over the limit of 100 megapixels; make it smaller first.",
    }.items():
        tab.get_by_label("Choose a photo").set_input_files(tmp_path / name)
        status = tab.locator("#status.error", has_text=f"{name}: ")
        status.wait_for(timeout=WAIT)
        assert status.inner_text() == f"{name}: {sentence}"
    assert not tab.locator("#result").is_visible()
    tab.close()


def test_a_browser_without_webassembly_and_a_page_without_its_model_say_so(
    chromium,  # noqa: F811
    address: str,
    built: Path,
    tmp_path: Path,
):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    tab = chromium.new_page()
    tab.add_init_script("delete globalThis.WebAssembly")
    shutil.copytree(built, tmp_path / "incomplete", ignore=shutil.ignore_patterns("model.js"))
    missing = chromium.new_page()
    for each, url, sentence in (
        (tab, address, "This browser does not run WebAssembly, or it is switched off; the page needs it."),
        (
            missing,
            (tmp_path / "incomplete" / "index.html").as_uri(),
            "model.js is missing beside the page; keep all its files in one folder.",
        ),
    ):
        each.goto(url)
        each.get_by_label("Choose a photo").set_input_files(tmp_path / "a.png")
        each.locator("#status.error").wait_for(timeout=WAIT)
        assert each.locator("#status").inner_text() == sentence
        each.close()
