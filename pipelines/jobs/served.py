"""The registered model as MLflow serves it: encoded photos in, PNG files out, any size.

MLflow keeps this file beside the weights and a copy of `lle`, and runs it wherever the model is served or loaded; it
may import nothing else of the project.
"""

from __future__ import annotations

import mlflow
import torch
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

import lle
from lle.images import MAX_PIXELS, ImageError, decode_picture, encode_picture, most_bytes, read_header
from lle.model import enhance_picture


class PhotoServer(PythonModel):
    """`mlflow.pyfunc.load_model(URI).predict([photo])`, where a photo is the bytes of a JPEG, PNG, WebP, TIFF, ..."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights that were registered."""
        self._model = lle.load(context.artifacts["model"]).to("cuda" if torch.cuda.is_available() else "cpu")

    def predict(self, model_input: list[bytes]) -> list[bytes]:  # type: ignore[override]  # MLflow finds the types here
        """The photos enhanced, as PNG files of the same sizes.

        Raises:
            MlflowException: a photo cannot be read; a server answers 400 with the reason.
        """
        try:
            check_sizes(model_input)
            return [
                encode_picture(enhance_picture(self._model, decode_picture(data, f"photo {number}")))
                for number, data in enumerate(model_input, start=1)
            ]
        except ImageError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error


def check_sizes(photos: list[bytes]) -> None:
    """All photos of a request together obey the budget of one, before the first is decoded.

    Raises:
        ImageError: they do not, or one of them is no photo.
    """
    pixels = 0
    if sum(len(data) for data in photos) > most_bytes(MAX_PIXELS):
        raise ImageError("photos", f"are over the limit of {most_bytes(MAX_PIXELS) / 1e6:.0f} MB; send fewer at once")
    for number, data in enumerate(photos, start=1):
        header = read_header(data, f"photo {number}")
        pixels += header.width * header.height
    if pixels > MAX_PIXELS:
        raise ImageError("photos", f"{pixels} pixels in all are over the limit of {MAX_PIXELS}; send fewer at once")


mlflow.models.set_model(PhotoServer())
