"""How fast the networks enhance, and in how much memory: published ones, ours, and one gain as the floor.

    python -m benchmarks.speed [--data DIR] [--repeats 5] [--all]

The networks take turns on the same picture in one process, so that what disturbs one disturbs its neighbours too:
ratios are medians over the turns. The slow ones have one turn on large pictures; their numbers at 12 MP are scaled by
pixels from 1920 x 1080, and marked so, unless --all is given. Peak memory is that of a process of its own with torch,
the network and the picture. DIR/weights/peers holds the published weights; random ones of the same shapes take their
place where a file is missing. scikit-image's total variation and, where it is installed
(pip install opencv-python-headless), OpenCV's CLAHE and non-local means are timed beside them; these and the bundled
model take bytes. On a machine that does other work, --busy counts the processor time of one thread, which waiting for
the others does not lengthen. --parts measures only these anew and keeps the rest of the stored results; --table only
writes the section of the page from them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lle
from benchmarks.pages import PAGE, machine, markdown_table, peak_memory, replace_section, save, stored, told
from benchmarks.quality import PUBLISHED
from cluster.allocator import keep_freed_memory
from lle.enhancers.base import Enhanced, Enhancer, count_weights
from lle.enhancers.bilateral import BilateralEnhancer
from lle.enhancers.compact import CompactEnhancer
from lle.enhancers.curve_maps import CurveEnhancer
from lle.enhancers.peers import Sci, ZeroDcePlusPlus
from lle.enhancers.published import load_published
from lle.enhancers.retinex import RetinexEnhancer
from lle.enhancers.scene import SceneEnhancer

Size = tuple[int, int]

SIZES: dict[str, Size] = {"600 x 400": (400, 600), "1920 x 1080": (1080, 1920), "4000 x 3000": (3000, 4000)}
ONLY_CUDA: dict[str, Size] = {"3840 x 2160": (2160, 3840)}
SMALL, LARGE, LARGEST = SIZES
MEMORY = "memory"
PARTS = (*SIZES, *ONLY_CUDA, MEMORY)
SLOW = ("CLIP-LIT", "Zero-DCE", "Zero-DCE++", "OpenCV non-local means", "scikit-image total variation")
OURS, DENOISING = "bilateral", "bilateral + denoiser"
BUNDLED, LIGHT_ALONE = "bundled", "bundled, light alone"
CLAHE, NON_LOCAL, TOTAL_VARIATION = "OpenCV CLAHE", "OpenCV non-local means", "scikit-image total variation"
TARGETS = (
    (OURS, "CLIP-LIT", 50),
    (OURS, "Zero-DCE++ (s = 12)", 1),
    (OURS, "SCI medium", 1),
    (DENOISING, "Zero-DCE", 10),
    (LIGHT_ALONE, "SCI medium", 1),
    (BUNDLED, "SCI medium", 1),
    (BUNDLED, NON_LOCAL, 1),
)
MOST_MEMORY = 1500


class OneGain(Enhancer):
    """Every pixel times two: the least that an enhancer can do."""

    def forward(self, image: Tensor) -> Enhanced:
        return Enhanced((2 * image).clamp(0, 1), image[:, :1, :1, :1])


class Classical(Enhancer):
    """A function of pixels, uint8 (H, W, 3), from another library."""

    takes_bytes = True

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Enhanced:
        found = self.function(image[0].permute(1, 2, 0).numpy())
        return Enhanced(torch.from_numpy(found).permute(2, 0, 1)[None], image[:, :1, :1, :1])


def clahe(pixels: np.ndarray) -> np.ndarray:
    """OpenCV's equalisation of lightness, tile by tile."""
    import cv2

    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(2.0, (8, 8)).apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))


def non_local_means(pixels: np.ndarray) -> np.ndarray:
    """OpenCV's denoiser of colour pictures at its defaults."""
    import cv2

    return np.asarray(cv2.fastNlMeansDenoisingColored(pixels))


def total_variation(pixels: np.ndarray) -> np.ndarray:
    """scikit-image's fastest denoiser."""
    from skimage.restoration import denoise_tv_chambolle

    found: np.ndarray = denoise_tv_chambolle(pixels, channel_axis=-1)
    return (255 * found).astype(np.uint8)


def of_the_scene(denoise: int = 32) -> Enhancer:
    """The network of the bundled model, whose weights change nothing in its speed but those of its light."""
    network = lle.load("bundled").enhancer
    assert isinstance(network, SceneEnhancer)
    if not denoise:
        network.denoiser = None
    return network


FRESH: dict[str, Callable[[], Enhancer]] = {
    "CLIP-LIT": partial(RetinexEnhancer, "reflect"),
    "Zero-DCE": CurveEnhancer,
    "Zero-DCE++": ZeroDcePlusPlus,
    "Zero-DCE++ (s = 12)": partial(ZeroDcePlusPlus, 12),
    "SCI medium": Sci,
    "compact": CompactEnhancer,
    OURS: partial(BilateralEnhancer, denoise=0),
    DENOISING: BilateralEnhancer,
    LIGHT_ALONE: partial(of_the_scene, denoise=0),
    BUNDLED: of_the_scene,
    "one gain": OneGain,
    TOTAL_VARIATION: partial(Classical, total_variation),
}
OPENCV = find_spec("cv2") is not None
if OPENCV:
    FRESH |= {CLAHE: partial(Classical, clahe), NON_LOCAL: partial(Classical, non_local_means)}
SAME_NETWORK = {"Zero-DCE": "Zero-DCE, PIE, SCL-LLE", "CLIP-LIT": "CLIP-LIT, RAVE"}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    keep_freed_memory()  # as `lle enhance` does
    if arguments.table:
        found = stored("speed")
    else:
        found = measure(arguments)
    replace_section(PAGE, "speed", as_text(found))
    print(as_text(found))
    return 0


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every turn by size and network (None: no turn), and peak MiB with the size it was measured at."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    set_threads(1 if arguments.busy else arguments.threads)
    clock = time.process_time if arguments.busy else time.perf_counter
    networks = {name: build(name, arguments.data).to(device) for name in FRESH}
    found: dict[str, Any] = {"seconds": {}, "peak": {}}
    if set(arguments.parts) != set(PARTS):
        found |= stored("speed")
    found |= {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "clock": "processor" if arguments.busy else "wall",
        "parameters": {name: count_weights(each) for name, each in networks.items()},
    }
    for label, size in (SIZES | ONLY_CUDA if device.type == "cuda" else SIZES).items():
        if label not in arguments.parts:
            continue
        left_out = set(SLOW) if label == LARGEST and not arguments.all else set()
        once = set() if label == SMALL else set(SLOW)
        turns = take_turns(networks, picture(size).to(device), clock, arguments.repeats, left_out, once)
        found["seconds"][label] = turns
        print(label, {name: _median(seconds) for name, seconds in turns.items()}, flush=True)
        save("speed", found)
    if MEMORY in arguments.parts:
        found["peak_of_torch"] = peak_apart("one gain", (8, 8))
        for name in FRESH:
            label = LARGE if name in SLOW and not arguments.all else LARGEST
            found["peak"][name] = {"size": label, "mib": peak_apart(name, SIZES[label])}
            print(name, found["peak"][name], flush=True)
            save("speed", found)
    return found


def take_turns(
    networks: dict[str, Enhancer],
    image: Tensor,
    clock: Callable[[], float],
    repeats: int,
    left_out: set[str],
    once: set[str],
) -> dict[str, list[float | None]]:
    """Seconds of each network in each round on one picture; None where it is left out of the round."""
    turns: dict[str, list[float | None]] = {name: [] for name in networks}
    with torch.inference_mode():
        pictures = {name: given(network, image) for name, network in networks.items()}
        for name in networks.keys() - left_out - once:
            networks[name](pictures[name])
        for turn in range(repeats):
            for name, network in networks.items():
                skipped = name in left_out or (name in once and turn)
                turns[name].append(None if skipped else _seconds(network, pictures[name], clock))
    return turns


def set_threads(threads: int | None) -> None:
    """For torch and OpenCV; None: as they are."""
    if threads:
        torch.set_num_threads(threads)
        if OPENCV:
            import cv2

            cv2.setNumThreads(threads)


def given(network: Enhancer, image: Tensor) -> Tensor:
    """The picture as the network is handed it: floats, or bytes as a file holds them."""
    if not network.takes_bytes:
        return image
    return (255 * image).round().to(torch.uint8, memory_format=torch.channels_last)


def _seconds(network: Enhancer, image: Tensor, clock: Callable[[], float]) -> float:
    wait: Callable[[], None] = torch.cuda.synchronize if image.is_cuda else lambda: None
    wait()
    started = clock()
    network(image)
    wait()
    return clock() - started


def build(name: str, data: Path | None) -> Enhancer:
    """A network by the name of its row, with its published weights where they are there."""
    torch.manual_seed(0)
    network, file = PUBLISHED.get(name, ("", ""))
    path = data / "weights" / "peers" / file if data and file else None
    if path and path.is_file():
        network, _, scale = network.partition("/")
        return load_published(network, path, scale=int(scale or 1))
    return FRESH[name]().eval().requires_grad_(False)


def picture(size: Size) -> Tensor:
    """A dark one of noise, (1, 3, H, W)."""
    return 0.3 * torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))


def peak_apart(name: str, size: Size) -> int | None:
    """Peak MiB of a process that enhances one picture: all of it on a CPU, what torch holds on a GPU."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    process = context.Process(target=_enhance_once, args=(name, size, answers))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{name}: enhancing {size[1]} x {size[0]} pixels failed; its reason is above")
    answer: int | None = answers.get()
    return answer


def _enhance_once(name: str, size: Size, answers: Any) -> None:
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    with torch.inference_mode():
        network = build(name, None).to(device)
        network(given(network, picture(size).to(device)))
    answers.put(torch.cuda.max_memory_allocated() // 2**20 if cuda else peak_memory())


# --- the page ---------------------------------------------------------------------------------------------------------


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    labels = [label for label in PARTS if label in found["seconds"]]
    rows = [
        [
            SAME_NETWORK.get(name, name),
            f"{parameters:,}",
            *(_told(*_time(found, name, label), unit=0.001) for label in labels),
            _told(*_memory(found, name)),
        ]
        for name, parameters in found["parameters"].items()
    ]
    aims = [
        [f"{ours}: times faster than {other}", least, *(_told(*_ratio(found, ours, other, label)) for label in labels)]
        for ours, other, least in TARGETS
    ]
    return "\n\n".join(
        (
            f"{told(found['machine'])}. Milliseconds of {found['clock']} time for one picture, threads: "
            f"{found['threads']}, medians of turns. Peak memory of the whole process with torch and the picture (on a "
            f"GPU: what torch holds there) at {LARGEST}; ours should stay under {MOST_MEMORY:,} MiB. \\*: not "
            f"measured, scaled by pixels from {LARGE}.",
            markdown_table(["", "parameters", *(f"{label}, ms" for label in labels), "peak, MiB"], rows),
            "Ratios of the same turns, and what was aimed at:",
            markdown_table(["", "aim", *labels], aims),
        )
    )


def _told(number: float | None, scaled: bool, unit: float = 1) -> str:
    if number is None:
        return ""
    number /= unit
    return f"{number:,.{1 if number < 100 else 0}f}{'*' if scaled else ''}"


def _time(found: dict[str, Any], name: str, label: str) -> tuple[float | None, bool]:
    """Median seconds, and whether they are scaled."""
    measured = _median(found["seconds"][label][name])
    if measured is not None or LARGE not in found["seconds"]:
        return measured, False
    large = _median(found["seconds"][LARGE][name])
    return large and large * _growth(), True


def _memory(found: dict[str, Any], name: str) -> tuple[float | None, bool]:
    """Peak MiB, and whether they are scaled."""
    peak = found["peak"].get(name, {"mib": None, "size": LARGEST})
    if peak["mib"] is None or peak["size"] == LARGEST:
        return peak["mib"], False
    torch_alone = found["peak_of_torch"]
    return torch_alone + (peak["mib"] - torch_alone) * _growth(), True


def _ratio(found: dict[str, Any], ours: str, other: str, label: str) -> tuple[float | None, bool]:
    """How many times faster ours is, median over the turns both had; and whether the other one's time is scaled."""
    fast, slow = (found["seconds"][label][name] for name in (ours, other))
    ratios = [theirs / mine for mine, theirs in zip(fast, slow, strict=True) if theirs is not None]
    if ratios:
        return statistics.median(ratios), False
    time_of_other, scaled = _time(found, other, label)
    return time_of_other and time_of_other / statistics.median(fast), scaled


def _growth() -> float:
    (height, width), (small_height, small_width) = SIZES[LARGEST], SIZES[LARGE]
    return height * width / (small_height * small_width)


def _median(turns: Sequence[float | None]) -> float | None:
    taken = [each for each in turns if each is not None]
    return statistics.median(taken) if taken else None


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with weights/peers")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each network")
    parser.add_argument("--all", action="store_true", help="measure the slow networks at 12 MP too: minutes, > 10 GB")
    parser.add_argument("--threads", type=int, help="of torch and OpenCV; as many as they take without it")
    parser.add_argument("--busy", action="store_true", help="count processor time of one thread")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure only these")
    parser.add_argument("--table", action="store_true", help="only write the page from the stored results")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
