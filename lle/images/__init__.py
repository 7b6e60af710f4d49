"""Image files and RGB pixels: safe decoding, colour, encoding.

    bytes -> image_hwc: uint8, (height, width, 3), sRGB, upright        decode
    bytes -> Picture: 8 or 16 bits, alpha, profile, metadata            decode_picture
    Picture -> bytes                                                    encode_picture

Imports Pillow and numpy only: decode workers start without torch.
"""

from lle.images.decode import (
    ImageHeader,
    decode,
    decode_picture,
    from_pil,
    picture_of_pil,
    read,
    read_header,
    read_picture,
)
from lle.images.encode import encode, encode_picture, losses, on_white
from lle.images.files import (
    MAX_PIXELS,
    RAW_SUFFIXES,
    SUFFIXES,
    ImageError,
    Readable,
    TooLarge,
    is_image_name,
    is_raw_name,
    most_bytes,
    read_bounded,
)
from lle.images.picture import Picture
from lle.images.pixels import eight_bits, from_tensor, resize, to_tensor

__all__ = [
    "MAX_PIXELS",
    "RAW_SUFFIXES",
    "SUFFIXES",
    "ImageError",
    "ImageHeader",
    "Picture",
    "Readable",
    "TooLarge",
    "decode",
    "decode_picture",
    "eight_bits",
    "encode",
    "encode_picture",
    "from_pil",
    "from_tensor",
    "is_image_name",
    "is_raw_name",
    "losses",
    "most_bytes",
    "on_white",
    "picture_of_pil",
    "read",
    "read_bounded",
    "read_header",
    "read_picture",
    "resize",
    "to_tensor",
]
