"""What a photo's file holds beside its pixels, to be written again or told as left out."""

from __future__ import annotations

from PIL import Image

from lle.images import heif, tiff
from lle.images.opening import File, format_of

_XMP, _IPTC = 700, 33_723  # TIFF tags
_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _TIME, _ARTIST, _COPYRIGHT = 270, 271, 272, 305, 306, 315, 33_432
_EXIF_IFD, _GPS_IFD = 34_665, 34_853
_IPTC_RESOURCE = 0x0404

_JPEG_GAIN_MAPS = (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"aux:hdrgainmap", b"urn:iso:std:iso:ts:21496:-1")


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF block of a loaded file; a TIFF spreads it among the tags that say how its pixels are stored."""
    if image.format != "TIFF":
        return image.info.get("exif")
    try:
        tags, block = image.getexif(), Image.Exif()
        for tag in (_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _TIME, _ARTIST, _COPYRIGHT):
            if tag in tags:
                block[tag] = tags[tag]
        for folder in (_EXIF_IFD, _GPS_IFD):
            if folder in tags:
                block[folder] = dict(tags.get_ifd(folder))
        return block.tobytes() if len(block) else None
    except Exception:  # metadata that cannot be parsed must not cost the enhanced picture
        return None


def xmp_of(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp") or getattr(image, "tag_v2", {}).get(_XMP)
    if isinstance(xmp, tuple):
        xmp = bytes(xmp)
    return xmp.encode() if isinstance(xmp, str) else xmp or None


def iptc_of(image: Image.Image) -> bytes | None:
    tags = getattr(image, "tag_v2", None)
    found = tags.get(_IPTC) if tags is not None else image.info.get("photoshop", {}).get(_IPTC_RESOURCE)
    if isinstance(found, tuple) and found and isinstance(found[0], int):  # some writers say that it is 32-bit numbers
        try:
            order = "big" if getattr(tags, "prefix", b"II") == b"MM" else "little"
            return b"".join(number.to_bytes(4, order) for number in found)
        except OverflowError:
            return None
    return found if isinstance(found, bytes) and found else None


def dpi_of(image: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = (float(each) for each in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    return (across, down) if min(across, down) >= 1 and max(across, down) < 65_536 else None


def left_out(file: File, data: bytes) -> tuple[str, ...]:
    """What the file holds beside the picture that is decoded."""
    image, found = file.image, []
    if heif.is_container(data):
        gain_map = heif.has_gain_map(data)
    else:
        gain_map = format_of(image) == "JPEG" and any(data.find(mark) >= 0 for mark in _JPEG_GAIN_MAPS)
    if gain_map:
        found.append("the HDR gain map")
    try:
        if file.chunks is not None:
            pictures = file.chunks.frames
        elif image.format == "TIFF":
            pictures = tiff.number_of_pictures(file.data)
        else:
            pictures = getattr(image, "n_frames", 1)
    except Exception:  # counting reads on, behind the picture that is already there
        pictures = 1
    if pictures > 1 and not (gain_map and pictures == 2):
        found.append(f"all but the first of its {pictures} pictures")
    return tuple(found)
