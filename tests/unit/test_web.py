"""The page for browsers, as far as no browser is needed: what it may load, what is pinned, what it does to EXIF."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from lle.exporting import GRID, LOOKED_AT, TILE_REACH

WEB = Path(__file__).parents[2] / "web"
NODE = shutil.which("node")
ASK = """
import { readFileSync, writeFileSync } from 'node:fs';
import { exifOf, withExifOf } from './exif.mjs';
const [from, to] = ['a.jpg', 'b.jpg'].map((name) => readFileSync(name));
const joined = await withExifOf(new Blob([from]), new Blob([to], { type: 'image/jpeg' }));
writeFileSync('c.jpg', new Uint8Array(await joined.arrayBuffer()));
console.log(exifOf(new Uint8Array(from.subarray(0, 40))), exifOf(new Uint8Array(to)));
"""


def test_what_is_installed_is_pinned_and_names_no_registry():
    lock = json.loads((WEB / "package-lock.json").read_text())
    wanted = json.loads((WEB / "package.json").read_text())["devDependencies"]
    assert all(lock["packages"][f"node_modules/{name}"]["version"] == version for name, version in wanted.items())
    packages = [each for path, each in lock["packages"].items() if path]
    assert all(each["integrity"] and "resolved" not in each for each in packages)


def test_the_page_may_connect_to_nothing_and_names_no_address():
    page = (WEB / "index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and "default-src 'none'" in policy[1] and "connect-src 'none'" in policy[1]
    sources = [each.read_text() for each in WEB.iterdir() if each.suffix in (".js", ".html", ".css")]
    assert not [text for text in sources if re.search(r"https?://|fetch\((?!event)|XMLHttpRequest|sendBeacon", text)]


def test_tiles_are_as_the_exported_programs_want_them():
    tile, reach = (
        int(re.search(rf"const {name} = (\d+);", (WEB / "enhancer.js").read_text())[1]) for name in ("TILE", "REACH")
    )
    assert reach == TILE_REACH and tile % GRID == 0 and reach % GRID == 0
    assert f"LOOKED_AT = {LOOKED_AT};" in (WEB / "picture.js").read_text()


@pytest.mark.skipif(not NODE, reason="needs Node.js")
@pytest.mark.parametrize("order", ["II", "MM"])
def test_exif_goes_on_upright_and_without_its_thumbnail(order: str, tmp_path: Path):
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[274], exif[315] = 6, "Ada"
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(file.getvalue())
    shutil.copy(WEB / "exif.js", tmp_path / "exif.mjs")
    (tmp_path / "ask.mjs").write_text(ASK)
    Image.new("RGB", (9, 9)).save(tmp_path / "b.jpg")
    told = subprocess.run([NODE, "ask.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["null", "null"]
    with Image.open(tmp_path / "c.jpg") as found:
        assert found.size == (9, 9) and dict(found.getexif()) == {274: 1, 315: "Ada"}
