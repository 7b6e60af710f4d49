"""The wheel as people install it: what it puts where, the command `lle`, with the base dependencies alone and with all.

Nothing is downloaded: the environments are new, and see the packages of the present one, all of them or those without
the extras, through a `.pth` file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lle
from lle.images import read

PACKAGES = Path(sysconfig.get_path("purelib"))
OF_EXTRAS = {
    "ray", "mlflow", "pyarrow", "rich", "boto3", "botocore", "scipy", "sklearn", "skimage", "matplotlib", "optuna",
    "onnx", "onnxruntime", "onnxscript", "pi_heif", "rawpy", "av", "starlette", "uvicorn",
}  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """An environment into which the wheel was installed."""

    folder: Path

    @property
    def packages(self) -> Path:
        return next((self.folder / "lib").glob("python*")) / "site-packages"

    def lle(self, *words: str, here: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command in a folder, with nothing of this repository on its path."""
        return self.run(str(self.folder / "bin" / "lle"), *words, here=here, **variables)

    def run(self, *words: str, here: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RAY_"))}
        environment = kept | {"RAY_USAGE_STATS_ENABLED": "0"} | variables
        return subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what belongs to it; only what builds it may have to be fetched."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("lle", "lle_platform", "pipelines", "cluster"):
        shutil.copytree(repository / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, source)
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    built = subprocess.run([uv, "build", "--wheel", "-o", out, source], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-3000:]
    return next(out.glob("*.whl"))


def installed(wheel: Path, folder: Path, packages: Path) -> Environment:
    """A new environment with the wheel, which sees packages in a folder."""
    venv.create(folder, symlinks=True)
    environment = Environment(folder)
    (environment.packages / "seen.pth").write_text(f"{packages}\n")
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    command = [uv, "pip", "install", "--offline", "--no-deps", "--python", folder / "bin" / "python", wheel]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return environment


@pytest.fixture(scope="module")
def whole(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With the packages of every extra."""
    return installed(wheel, tmp_path_factory.mktemp("whole"), PACKAGES)


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With the base dependencies alone."""
    seen = tmp_path_factory.mktemp("seen")
    for each in PACKAGES.iterdir():
        if each.name not in OF_EXTRAS and each.suffix not in (".pth", ".dist-info"):
            (seen / each.name).symlink_to(each)
    return installed(wheel, tmp_path_factory.mktemp("bare"), seen)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a dark photo and nothing else, and below it two more."""
    random = np.random.default_rng(0)
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        grain = random.integers(5, 60, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(grain).resize((320, 240), Image.Resampling.BICUBIC).save(tmp_path / name)
    return tmp_path


def brighter(after: Path, before: Path) -> bool:
    return read(after).shape == read(before).shape and read(after).mean() > read(before).mean() + 10


def test_the_wheel_takes_no_name_that_others_may_have(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"lle", "lle_platform", f"lle-{lle.__version__}.dist-info"}
    needed = {"pipelines/train.py", "pipelines/presets/quickstart.yaml", "pipelines/templates/demo.html"}
    assert {f"lle_platform/path/{name}" for name in needed} <= set(names)
    assert {"lle/enhancers/assets/model.safetensors", "lle/prior/assets/light_prior.safetensors"} <= set(names)


def test_importing_lle_is_quick_and_shows_what_it_has(bare: Environment, tmp_path: Path):
    code = (
        "import sys, time; start = time.process_time(); import lle; took = time.process_time() - start\n"
        "print(lle.__version__, {'load', 'enhance'} <= set(dir(lle)), 'torch' in sys.modules, took < 0.2)\n"
        "import importlib.util; print([importlib.util.find_spec(name) for name in ('pipelines', 'cluster')])"
    )
    done = bare.run(str(bare.folder / "bin" / "python"), "-c", code, here=tmp_path)
    assert done.stdout == f"{lle.__version__} True False True\n[None, None]\n", done.stderr[-2000:]


def test_a_photo_is_enhanced_with_the_base_dependencies_alone(bare: Environment, photos: Path):
    done = bare.lle("enhance", "photo.jpg", here=photos)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "1 photos enhanced, 0 done before, 0 failed" in done.stdout
    assert {each.name for each in photos.iterdir()} == {"photo.jpg", "photo.enhanced.jpg", "photos"}
    assert brighter(photos / "photo.enhanced.jpg", photos / "photo.jpg")


def test_a_folder_is_enhanced_with_the_base_dependencies_alone_and_resumed_with_all(
    bare: Environment, whole: Environment, photos: Path
):
    done = bare.lle("enhance", "photos/", "--output", "brighter", here=photos)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert brighter(photos / "brighter" / "b.jpg", photos / "photos" / "b.jpg")
    again = whole.lle("enhance", "photos/", "--output", "brighter", here=photos)
    assert again.returncode == 0 and "0 photos enhanced, 2 done before, 0 failed" in again.stdout


def test_workers_of_ray_find_the_code_of_a_wheel(whole: Environment, photos: Path):
    done = whole.lle("enhance", "photos", "--output", "brighter", here=photos, RAY_ADDRESS="local")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "2 photos enhanced" in done.stdout and brighter(photos / "brighter" / "a.jpg", photos / "photos" / "a.jpg")


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (("train",), "ray"),
        (("evaluate", "--model", "bundled", "--data.dark", "photos", "--output", "out"), "ray"),
        (("enhance", "photos", "--output", "out", "--cluster.address", "127.0.0.1:6379"), "ray"),
        (("enhance", "photo.jpg", "--model", "models:/lle-enhancer@champion"), "mlflow"),
        (("enhance", "s3://bucket/photos", "--output", "out"), "pyarrow"),
    ],
)
def test_a_missing_extra_is_one_sentence(bare: Environment, photos: Path, words: tuple[str, ...], package: str):
    done = bare.lle(*words, here=photos)
    assert done.returncode == 2 and "pip install 'lle[pipeline]'" in done.stderr, done.stderr[-3000:]
    assert done.stderr.count("\n") == 1 and not (photos / "out" / "a.jpg").exists()


def test_help_of_a_job_needs_no_extra_and_is_that_of_its_entry_point(
    bare: Environment, repository: Path, tmp_path: Path
):
    for job in ("train", "enhance"):
        installed = bare.lle(job, "--help", here=tmp_path)
        entry = [sys.executable, str(repository / "pipelines" / f"{job}.py"), "--help"]
        checkout = bare.run(*entry, here=tmp_path, PYTHONPATH=str(repository))
        assert installed.returncode == checkout.returncode == 0, installed.stderr[-2000:]
        options = [
            {word for word in said.split() if word.startswith("--")} for said in (installed.stdout, checkout.stdout)
        ]
        assert options[0] == options[1] and len(options[0]) > 5


def test_a_mistake_ends_as_it_does_in_a_checkout(whole: Environment, repository: Path, tmp_path: Path):
    words = ("train", "--data.drak", "photos")
    installed = whole.lle(*words, here=tmp_path)
    entry = [sys.executable, str(repository / "pipelines" / "train.py"), *words[1:]]
    checkout = whole.run(*entry, here=tmp_path, PYTHONPATH=str(repository))
    assert installed.returncode == checkout.returncode == 2
    assert installed.stderr == checkout.stderr and "did you mean --data.dark?" in installed.stderr
