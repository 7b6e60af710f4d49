"""Raw photos: what the sensor counted, developed to linear light and no further.

LibRaw does it, by the package `rawpy` (the extra `raw`), which is asked for only when such a photo comes: black is
taken off, the grid's colours are interpolated, the camera's white balance and colour matrix make sRGB of them. Nothing
is brightened and no curve is applied: a network's exposure is the first.

    white = full in all colours at once,    light = counted * w / mean(w),    w: white balance

A camera's JPEG clips each colour where the one that fills first would be full. Here a colour that overflows alone keeps
its light, and only its hue fades as the others come to their ends (LibRaw's `Blend`): so a raw photo begins darker than
its JPEG, by log2(mean(w) / min(w)) stops, and has that much above it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lle.images import tiff
from lle.images.colour import srgb_of_linear
from lle.images.files import Unsupported

if TYPE_CHECKING:
    from rawpy import RawPy
    from rawpy._rawpy import ImageSizes

_MAGIC = (
    b"FUJIFILMCCD-RAW",
    b"IIU\0",  # RW2 of Panasonic, RWL of Leica
    *(b"IIRO", b"IIRS", b"MMOR"),  # ORF
)
_CR2, _CR3 = b"CR", b"ftypcrx "
_QUARTER_TURNS = (5, 6)  # LibRaw's numbers


class RawImage(Image.Image):
    """The header of a raw photo as an image of Pillow's, for all that asks for its size and metadata.

    Attributes:
        tag_v2: of its first directory, where it is built as a TIFF, else empty.

    Raises:
        Unsupported: `rawpy` is not installed, or LibRaw does not know this kind of file.
        OSError: damaged.
    """

    format = "RAW"

    def __init__(self, data: bytes) -> None:
        super().__init__()
        try:
            import rawpy
        except ImportError as error:
            raise Unsupported("a raw photo, which needs one more package; pip install rawpy") from error
        self._raw = rawpy.RawPy()
        with _libraw_errors():
            self._raw.open_buffer(io.BytesIO(data))
        self._mode, self._size = "RGB", _upright_size(self._raw.sizes)
        self.tag_v2 = self.getexif()
        if data[:4] in tiff.BEGINNINGS:
            if tiff.end_of_raw(data) > len(data):  # LibRaw would leave the rest black
                raise OSError("unexpected end of the file")
            self.tag_v2.load(data)

    def light(self) -> np.ndarray:
        """Linear light from black, 0, to white, 65535: upright, uint16, (height, width, 1 or 3).

        Raises:
            Unsupported, OSError: as above.
        """
        import rawpy

        with _libraw_errors(), self._raw as raw:
            balance = white_balance(raw)
            used = balance[: raw.num_colors]
            return raw.postprocess(
                gamma=(1, 1),
                output_bps=16,
                user_wb=balance,
                no_auto_bright=True,
                highlight_mode=rawpy.HighlightMode.Blend,
                bright=max(used) / (sum(used) / len(used)),  # LibRaw has white where the strongest colour would be full
            )

    def samples(self) -> np.ndarray:
        """The same as sRGB, in whose 16 bits none of a sensor's 14 are lost."""
        return srgb_of_linear(self.light())


def is_raw(data: bytes) -> bool:
    """Whether these bytes begin as a raw photo, or are a TIFF that holds one."""
    if data[:4] in tiff.BEGINNINGS:
        return data[8:10] == _CR2 or tiff.holds_raw(data)
    return data[4:12] == _CR3 or data.startswith(_MAGIC)


def white_balance(raw: RawPy) -> list[float]:
    """What each of the four colours is multiplied by: the camera's choice, else daylight."""
    told = raw.camera_whitebalance
    red, green, blue, second_green = told if min(told[:3]) > 0 else raw.daylight_whitebalance
    return [red, green, blue, second_green or green]


def _upright_size(sizes: ImageSizes) -> tuple[int, int]:
    """Width and height as they come out: oblong pixels made square, and turned."""
    width = round(sizes.iwidth * max(sizes.pixel_aspect, 1))
    height = round(sizes.iheight / min(sizes.pixel_aspect, 1))
    return (height, width) if sizes.flip in _QUARTER_TURNS else (width, height)


@contextmanager
def _libraw_errors() -> Iterator[None]:
    """LibRaw tells its reasons as bytes."""
    import rawpy

    try:
        yield
    except rawpy.LibRawFileUnsupportedError as error:
        raise Unsupported(
            "a raw photo of a kind that LibRaw does not know; convert it to DNG, or develop it to TIFF or JPEG"
        ) from error
    except rawpy.LibRawError as error:
        raise OSError(error.args[0].decode(errors="replace")) from error
