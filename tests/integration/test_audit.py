"""The audit of packages, asked of a server that knows one hole, of one that knows none, and of nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

UVX = Path(sys.executable).with_name("uvx")
HOLE = {
    "id": "PYSEC-2099-1", "modified": "2099-01-01T00:00:00Z", "published": "2099-01-01T00:00:00Z", "details": "a hole",
    "affected": [
        {
            "package": {"name": "six", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}],
        }
    ],
}  # fmt: skip


class Answer(BaseHTTPRequestHandler):
    """As osv.dev: the holes of one package."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = json.dumps({"vulns": [HOLE]} if asked["package"]["name"] == "six" else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *told: object) -> None:
        pass


@pytest.fixture(scope="module")
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def audit(repository: Path, packages: Path, service: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {"UVX": str(UVX), "OSV_URL": service}
    command = [str(repository / ".ci" / "audit"), str(packages)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)


def test_a_known_hole_fails_none_passes_and_silence_is_said(repository: Path, tmp_path: Path, osv: str):
    safe, holed = tmp_path / "safe.txt", tmp_path / "holed.txt"
    safe.write_text("iniconfig==2.1.0\n")
    holed.write_text("iniconfig==2.1.0\nsix==1.17.0\n")
    good = audit(repository, safe, osv)
    if "left out" in good.stderr:
        pytest.skip(f"pip-audit cannot be had here: {good.stderr.strip()}")
    assert (good.returncode, good.stdout) == (0, "audit: no known hole in the packages of safe.txt\n")
    bad = audit(repository, holed, osv)
    assert (
        bad.returncode == 1 and "PYSEC-2099-1" in bad.stderr and "take the fixed versions into holed.txt" in bad.stderr
    )
    silent = audit(repository, holed, "http://127.0.0.1:9")
    assert silent.returncode == 0 and silent.stderr.startswith("audit: left out, for osv.dev or the package index does")
    assert silent.stdout == "" and silent.stderr.count("\n") == 1
