"""What the page in the browser takes (docs/my_browser.md): seconds and memory, by the size of the photo.

    make web
    python -m benchmarks.browser [--page web/dist] [--megapixels 3 12 24] [--table]

A dark photo with structure and grain is given to the page in headless Chromium, on the processor, for there is no
graphics card: once it is shown, it is saved at full size. Seconds by the clock, and of the processor in all of
Chromium's processes, which a busy machine lengthens less; their memory at the peak (PSS), above that of an empty tab.
--table only writes the section of the page from the stored results.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored, told
from lle.images import encode

WAIT = 1_200_000  # ms
BETWEEN_LOOKS = 0.3  # s


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", default="web/dist", help="folder of the page")
    parser.add_argument("--megapixels", type=int, nargs="+", default=[3, 12, 24], help="sizes of the photos")
    parser.add_argument("--table", action="store_true", help="only write the page from the stored results")
    arguments = parser.parse_args(argv)
    found = stored("browser") if arguments.table else measure(Path(arguments.page), arguments.megapixels)
    replace_section(PAGE, "browser", as_text(found))
    print(as_text(found))
    return 0


def measure(page: Path, megapixels: Sequence[int]) -> dict[str, Any]:
    """What each size takes, by megapixels as text."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    found: dict[str, Any] = {"machine": machine(), "photos": {}}
    with TemporaryDirectory() as folder, served(page) as address, sync_playwright() as driver:
        for size in megapixels:
            photo = Path(folder, f"{size}.jpg")
            photo.write_bytes(encode(dark(size), "jpeg"))
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = driver.chromium.launch(executable_path=chromium, args=arguments)
            found["machine"]["chromium"] = browser.version
            tab = browser.new_page()
            empty = memory(processes())
            tab.goto(address)
            with watched() as shown:
                tab.get_by_label("Choose a photo").set_input_files(photo)
                tab.locator("#status", has_text="is enhanced").wait_for(timeout=WAIT)
            with watched() as kept, tab.expect_download(timeout=WAIT):
                tab.get_by_role("button", name="Download").click()
            found["photos"][str(size)] = {"shown": shown, "saved": kept, "empty": empty}
            print(size, found["photos"][str(size)], flush=True)
            browser.close()
    save("browser", found)
    return found


@contextmanager
def served(page: Path) -> Iterator[str]:
    """The address of a folder on loopback."""
    handler = partial(_Quiet, directory=str(page))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Filled at the end: `wall` and `processor` seconds, and `peak` MiB, of all browser processes."""
    found, ended = dict[str, float](), threading.Event()
    seen = processes()
    peak = [memory(seen)]

    def look() -> None:
        while not ended.wait(BETWEEN_LOOKS):
            peak.append(memory(processes()))

    watcher = threading.Thread(target=look)
    began, used = time.perf_counter(), processor(seen)
    watcher.start()
    try:
        yield found
    finally:
        found["wall"] = round(time.perf_counter() - began, 1)
        found["processor"] = round(processor(processes()) - used, 1)
        ended.set()
        watcher.join()
        found["peak"] = round(max(peak))


def processes() -> list[psutil.Process]:
    """Chromium's, which this process has started through Playwright."""
    return [each for each in psutil.Process().children(recursive=True) if "chrom" in each.name()]


def memory(of: Sequence[psutil.Process]) -> float:
    """MiB of all, what they share counted once; of those that have ended meanwhile, none."""
    return sum(_asked(lambda each: each.memory_full_info().pss, each) for each in of) / 2**20


def processor(of: Sequence[psutil.Process]) -> float:
    """Seconds that all have computed."""
    return sum(_asked(lambda each: sum(each.cpu_times()[:2]), each) for each in of)


def _asked(question: Any, process: psutil.Process) -> float:
    try:
        return float(question(process))
    except psutil.NoSuchProcess:
        return 0.0


def dark(megapixels: int) -> np.ndarray:
    """A photo of 4 to 3 with structure and grain, uint8."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    rows, columns = np.mgrid[:height, : round(height * 4 / 3)].astype(np.float32)
    scene = 40 + 25 * np.sin(rows / 90) * np.cos(columns / 130)
    grain = np.random.default_rng(0).normal(0, 4, scene.shape).astype(np.float32)
    colours = np.array((1.0, 0.9, 0.7), np.float32)
    return (scene[..., None] * colours + grain[..., None]).clip(0, 255).astype(np.uint8)


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    rows = [
        [
            f"{size} MP",
            f"{photo['shown']['wall']:.1f}",
            f"{photo['saved']['wall']:.1f}",
            f"{photo['saved']['processor']:.1f}",
            f"{photo['saved']['processor'] / int(size):.1f}",
            f"{max(photo['shown']['peak'], photo['saved']['peak']) - photo['empty']:,.0f}",
        ]
        for size, photo in found["photos"].items()
    ]
    return "\n\n".join(
        (
            f"Headless Chromium {found['machine']['chromium']}, WebAssembly. {told(found['machine'])}.",
            markdown_table(
                ["photo", "shown, s", "saved, s", "its processor time, s", "of one megapixel, s", "peak, MiB"], rows
            ),
        )
    )


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


if __name__ == "__main__":
    sys.exit(main())
