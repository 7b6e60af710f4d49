"""The demo without a browser: which model it takes, and mistakes in one sentence."""

from __future__ import annotations

import base64
import io
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from lle.images import decode
from pipelines.config.demo import DemoSettings
from pipelines.config.fields import Tracking
from pipelines.demo import main
from pipelines.inference.demo import Refusal, brighten, chosen_model
from pipelines.models.named import NamedModel
from pipelines.models.resolve import find_model


def photo(format: str, size: tuple[int, int] = (60, 40), **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (20, 25, 30)).save(file, format, **options)
    return file.getvalue()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    try:
        assert main(arguments) == status
    except SystemExit as stop:
        assert stop.code == status
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    return message


def test_without_a_registry_the_bundled_model_is_taken(tmp_path: Path):
    database = tmp_path / "mlflow.db"
    assert chosen_model(DemoSettings(tracking=Tracking(uri=f"sqlite:///{database}"))).uri == "bundled"
    assert not database.exists()


def test_a_named_model_is_taken_or_told_to_be_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert chosen_model(DemoSettings(model="baseline:auto-gain")).name == "auto-gain"
    assert "no saved model" in refusal(capsys, "--model", str(tmp_path))


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port: {port} cannot be had" in refusal(capsys, "--model", "baseline:input", "--port", port)


def test_a_port_that_is_none_is_a_mistake(capsys: pytest.CaptureFixture[str]):
    assert "port: 70000 is not allowed" in refusal(capsys, "--port", "70000", status=2)


@pytest.mark.parametrize(
    ("format", "suffix"),
    [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif"), ("BMP", ".bmp"), ("GIF", ".png")],
)
def test_the_result_is_of_the_photos_own_kind_and_size(format: str, suffix: str):
    found = brighten(find_model("baseline:auto-gain", ""), photo(format), 10**6)
    file = base64.b64decode(found["file"])
    kind = Image.open(io.BytesIO(file)).format
    assert found["suffix"] == suffix and kind == ("PNG" if format == "GIF" else format)
    assert decode(file).shape == (40, 60, 3) == (found["height"], found["width"], 3)
    assert decode(file).mean() > 60 and found["stops"][1] > 3
    assert list(found["pictures"]) == ["input", "enhanced", "light map"]


@pytest.mark.parametrize(
    ("data", "reason", "status"),
    [
        (b"", "the file is empty", 422),
        (b"no photo at all", "not a JPEG, PNG, WebP", 422),
        (photo("PNG", (2000, 1000)), "2000 x 1000 pixels are over the limit of 1000000", 422),
        (photo("PNG")[:80], "damaged or truncated", 422),
    ],
)
def test_a_photo_that_cannot_be_used_is_refused_with_the_reason(data: bytes, reason: str, status: int):
    with pytest.raises(Refusal, match=reason) as refused:
        brighten(find_model("baseline:input", ""), data, 10**6)
    assert refused.value.status == status


def test_a_model_that_fails_is_told_as_such():
    class Broken(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * np.nan

    with pytest.raises(Refusal, match="could not be enhanced .the model gives values that are not numbers"):
        brighten(NamedModel("broken", "broken", Broken()), photo("PNG"), 10**6)


def test_previews_keep_the_colour_space_and_alpha_is_shown_on_white():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("RGBA", (60, 40), (20, 20, 20, 255))
    image.paste((0, 0, 0, 0), (0, 0, 60, 20))
    data = io.BytesIO()
    image.save(data, "PNG", icc_profile=profile)
    found = brighten(find_model("baseline:input", ""), data.getvalue(), 10**6)
    for label, kept in (("input", profile), ("enhanced", profile), ("light map", None)):
        with Image.open(io.BytesIO(base64.b64decode(found["pictures"][label].partition(",")[2]))) as shown:
            assert shown.info.get("icc_profile") == kept
            assert label == "light map" or np.asarray(shown)[5, 5].min() >= 250
    with Image.open(io.BytesIO(base64.b64decode(found["file"]))) as file:
        assert np.array_equal(file.getchannel("A"), image.getchannel("A"))
