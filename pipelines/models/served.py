"""The registered model as MLflow serves it: encoded photos in, PNG files out, any size.

MLflow keeps this file beside the weights and a copy of `lle`, and runs it wherever the model is served or loaded; it
may import nothing else of the project.

MLflow's own server repeats the whole request in its errors, several times over, and calls many mistakes in it a fault
of the server. Where it serves this model, `answer` takes the place of that part of it.
"""

from __future__ import annotations

import base64
import binascii
import json
import sys
from typing import Any

import mlflow
import torch
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

import lle
from lle.dotted import said
from lle.images import ImageError, decode_picture, encode_picture, most_bytes, read_header
from lle.model import enhance_picture
from pipelines.config.enhance import EnhanceSettings

MAX_PIXELS: int = EnhanceSettings.model_fields["max_pixels"].default
SERVER = "mlflow.pyfunc.scoring_server"
WANTED = 'send JSON, {"inputs": ["base64 of a photo\'s file", ...]}, with Content-Type: application/json'
STRENGTH = "strength"
SHOWN = 200  # characters of a reason that is not our own


class PhotoServer(PythonModel):
    """`mlflow.pyfunc.load_model(URI).predict([photo])`, where a photo is the bytes of a JPEG, PNG, WebP, TIFF, ...;
    `predict([photo], params={"strength": 0.5})` for another strength than 1.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights that were registered."""
        self._model = lle.load(context.artifacts["model"]).to("cuda" if torch.cuda.is_available() else "cpu")
        if f"{SERVER}.app" in sys.modules:
            sys.modules[SERVER].invocations = answer  # type: ignore[attr-defined]

    def predict(  # type: ignore[override]  # MLflow finds the types here
        self, model_input: list[bytes], params: dict[str, Any] | None = None
    ) -> list[bytes]:
        """The photos enhanced, as PNG files of the same sizes.

        Args:
            model_input: the photos' files.
            params: `strength`, as in `lle.model.Model.enhance`.

        Raises:
            MlflowException: a photo cannot be read, or the model does not know the strength; a server answers 400 with
                the reason.
        """
        given = (params or {}).get(STRENGTH)
        strength = 1.0 if given is None else given
        try:
            self._model.enhancer.check_strength(strength)
        except ValueError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error
        try:
            check_sizes(model_input)
            return [
                encode_picture(
                    enhance_picture(
                        self._model, decode_picture(data, f"photo {number}", max_pixels=MAX_PIXELS), strength
                    )
                )
                for number, data in enumerate(model_input, start=1)
            ]
        except ImageError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error


def answer(data: bytes, content_type: str | None, model: Any, input_schema: Any) -> Any:
    """What the server says to a request, in place of MLflow's `invocations`: no error repeats what was sent.

    Status 400 where the request is at fault, 500 where the model is; the reason as JSON.
    """
    try:
        enhanced = model.predict(*asked(data, content_type))
    except MlflowException as error:
        asked_wrong = error.error_code == "INVALID_PARAMETER_VALUE"
        return _response(error.error_code, error.message[:1000], 400 if asked_wrong else 500)
    except Exception as error:
        return _response("INTERNAL_ERROR", f"the photos could not be enhanced ({said(error)})", 500)
    text = json.dumps({"predictions": [base64.b64encode(each).decode() for each in enhanced]})
    return _of_mlflow(text, 200)


def asked(data: bytes, content_type: str | None) -> tuple[list[bytes], dict[str, float]]:
    """The photos of a request, and its params.

    Raises:
        MlflowException: it is not what `WANTED` says.
    """

    def wrong(why: str) -> MlflowException:
        return MlflowException(f"{why}; {WANTED}", INVALID_PARAMETER_VALUE)

    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise wrong("the request is no JSON")
    try:
        content = json.loads(data, parse_int=float)
    except (ValueError, RecursionError):
        raise wrong("the request is not valid JSON") from None
    inputs = content.get("inputs") if isinstance(content, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(each, str) for each in inputs):
        raise wrong("the request has no list of texts named inputs")
    photos = []
    for number, text in enumerate(inputs, start=1):
        try:
            photos.append(base64.b64decode("".join(text.split()), validate=True))
        except (binascii.Error, ValueError):
            raise wrong(f"photo {number} is not base64") from None
    params = content.get("params", {})
    if not isinstance(params, dict) or not params.keys() <= {STRENGTH}:
        raise wrong('the request has params other than {"strength": 1}; correct them or leave them out')
    if not all(isinstance(value, float) for value in params.values()):
        raise wrong("the strength of the request is no number")
    return photos, params


def check_sizes(photos: list[bytes]) -> None:
    """All photos of a request together obey the budget of one, before the first is decoded.

    Raises:
        ImageError: they do not, or one of them is no photo.
    """
    pixels = 0
    if sum(len(data) for data in photos) > most_bytes(MAX_PIXELS):
        raise ImageError("photos", f"are over the limit of {most_bytes(MAX_PIXELS) / 1e6:.0f} MB; send fewer at once")
    for number, data in enumerate(photos, start=1):
        header = read_header(data, f"photo {number}", MAX_PIXELS)
        pixels += header.width * header.height
    if pixels > MAX_PIXELS:
        raise ImageError("photos", f"{pixels} pixels in all are over the limit of {MAX_PIXELS}; send fewer at once")


def _response(code: str, message: str, status: int) -> Any:
    return _of_mlflow(json.dumps({"error_code": code, "message": message}), status)


def _of_mlflow(text: str, status: int) -> Any:
    from mlflow.pyfunc.scoring_server import InvocationsResponse

    return InvocationsResponse(response=text, status=status, mimetype="application/json")


mlflow.models.set_model(PhotoServer())
