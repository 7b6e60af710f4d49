"""What a photo's file holds beside its pixels, to be written again or told as left out."""

from __future__ import annotations

from typing import Any

from PIL import Image

from lle.images import heif, tiff
from lle.images.opening import File, format_of

_XMP, _IPTC = 700, 33_723  # TIFF tags
_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _TIME, _ARTIST, _COPYRIGHT = 270, 271, 272, 305, 306, 315, 33_432
_EXIF_IFD, _GPS_IFD, _MAKERS_NOTES = 34_665, 34_853, 37_500
_IPTC_RESOURCE = 0x0404

_JPEG_GAIN_MAPS = (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"aux:hdrgainmap", b"urn:iso:std:iso:ts:21496:-1")


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF block of a loaded file; TIFF and raw spread it among the tags that say how their pixels are stored."""
    if image.format not in ("TIFF", "RAW"):
        return image.info.get("exif")
    try:
        tags, block = image.getexif(), Image.Exif()
        for tag in (_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE, _TIME, _ARTIST, _COPYRIGHT):
            if tag in tags:
                block[tag] = tags[tag]
        for folder in (_EXIF_IFD, _GPS_IFD):
            if folder in tags:
                block[folder] = dict(tags.get_ifd(folder))
                if image.format == "RAW":  # they point into the raw file, and may be longer than all EXIF of a JPEG
                    block[folder].pop(_MAKERS_NOTES, None)
        return block.tobytes() if len(block) else None
    except Exception:  # metadata that cannot be parsed must not cost the enhanced picture
        return None


def xmp_of(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp") or getattr(image, "tag_v2", {}).get(_XMP)
    if isinstance(xmp, tuple):
        xmp = bytes(xmp)
    xmp = xmp.encode() if isinstance(xmp, str) else xmp or None
    return None if _are_settings(image, xmp) else xmp


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
    image, found = file.image, list[str]()
    if image.format == "RAW":
        return _left_out_of_raw(image)
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


def _are_settings(image: Image.Image, xmp: bytes | None) -> bool:
    """Whether a packet says how its raw photo is to be developed: what opens the result would do so once more."""
    return image.format == "RAW" and xmp is not None and b"crs:" in xmp


def _left_out_of_raw(image: Image.Image) -> tuple[str, ...]:
    tags: Any = getattr(image, "tag_v2", None)
    if not tags:
        return ("EXIF of this kind of raw photo",)
    found = []
    if tags.get(_XMP) and xmp_of(image) is None:
        found.append("settings of a raw developer (XMP)")
    try:
        notes = _MAKERS_NOTES in tags.get_ifd(_EXIF_IFD)
    except Exception:  # as in `exif_of`
        notes = False
    return (*found, "notes of the camera's maker (EXIF)") if notes else tuple(found)
