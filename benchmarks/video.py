"""How steady enhanced clips are, and how many frames a second are enhanced.

    python -m benchmarks.video --data DIR [--speed] [--table]

DIR holds clips (`other_tasks/video` of our material). Their frames, 640 px wide, are shown under four lights: as they
are; under one light for the whole clip, the median of what is decided, which is the source's own flicker at that
brightness; under that of each frame by itself; and filtered over time, as `lle enhance` does. One more clip is the
first by name, darkened by the camera of `lle.exposure` whose exposure flickers and drifts. Flicker is the mean change
from a frame to the next, cuts left out, of the sRGB level, 0 to 255: of the whole frame, and of each of 16 x 16 places.
--speed measures only the speed anew, --table only writes the page from the stored results. Segments are measured on
every clip forwards and backwards in turns, so that it has no cuts.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import lle
from benchmarks.pages import PAGE, machine, markdown_table, replace_section, save, stored, told
from lle.clips import is_clip_name, join_segments, read_frames, rewrite_clip, rewrite_segment
from lle.enhancers.exposure import OneExposure
from lle.enhancers.light import Light
from lle.enhancers.over_time import SECONDS, LightOverTime
from lle.exposure.camera import Noise, expose, quantise
from pipelines.config.enhance import EnhanceSettings, VideoSettings
from pipelines.inference.clips import ByFrames, one_core_left
from pipelines.inference.segments import LEAD

WIDTH = 640
PLACES = 16
LIGHTS = ("source", "one light for all", "frame by frame", "filtered")
DARKENED = "darkened by the camera, exposure changes"
SPEED_SIZE = (720, 1280)
SPEED_FRAMES, SLOW_FRAMES = 90, 6
SEGMENT_SECONDS = 20.0
Clip = list[tuple[Tensor, float]]
Picture = TypeVar("Picture", Tensor, np.ndarray)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of clips")
    parser.add_argument("--speed", action="store_true", help="measure only the speed anew")
    parser.add_argument("--table", action="store_true", help="only write the page from the stored results")
    arguments = parser.parse_args(argv)
    if not arguments.table:
        if arguments.data is None or not (files := sorted(filter(is_clip, arguments.data.iterdir()))):
            parser.error("--data: name a folder that holds clips, such as other_tasks/video")
        measure(files, arguments.speed)
    replace_section(PAGE, "video", as_text(stored("video")))
    print(as_text(stored("video")))
    return 0


def is_clip(file: Path) -> bool:
    return is_clip_name(file.name)


def measure(files: Sequence[Path], only_speed: bool) -> None:
    """Flicker of each clip by light, and the speed, stored as they are found."""
    network = lle.load("bundled").enhancer
    assert isinstance(network, OneExposure)
    found = stored("video") | {"machine": machine(("torch", "av"))}
    if not only_speed:
        found["flicker"] = {}
        for file in files:
            found["flicker"][file.name] = flicker_by_light(network, frames_of(file))
            save("video", found)
        first = files[0]
        found["flicker"][f"{first.name}, {DARKENED}"] = flicker_by_light(network, darkened(frames_of(first)))
        save("video", found)
        found["apart"] = {file.name: apart(network, frames_of(file)) for file in files}
        save("video", found)
    found["speed"] = {
        "without denoising": speed(files[-1], network, denoise=False, frames=SPEED_FRAMES),
        "denoised": speed(files[-1], network, denoise=True, frames=SLOW_FRAMES),
    }
    found["processor ms"] = whole_and_by_segments(files[-1])
    save("video", found)


def frames_of(file: Path) -> Clip:
    """uint8 (1, 3, h, 640) and seconds of each frame."""
    found = Clip()
    for pixels, seconds in read_frames(file):
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        height = round(WIDTH / image.shape[-1] * image.shape[-2])
        small = F.interpolate(image.float(), (height, WIDTH), mode="bilinear", antialias=True)
        found.append((small.round().to(torch.uint8), seconds))
    return found


def darkened(frames: Clip) -> Clip:
    """The clip taken at -3.5 stops, of which a lamp takes and gives up to .3 at random and a slow drift up to .8."""
    generator, found = torch.Generator().manual_seed(0), Clip()
    for image, seconds in frames:
        flicker = 0.6 * float(torch.rand(1, generator=generator)) - 0.3
        stops = -3.5 + flicker + 0.8 * math.sin(2 * math.pi * seconds / 4)
        dark = quantise(expose(image / 255, stops, Noise(2e-4, 5e-4), generator))
        found.append(((255 * dark).round().to(torch.uint8), seconds))
    return found


@torch.inference_mode()
def flicker_by_light(network: OneExposure, frames: Clip) -> dict[str, dict[str, float]]:
    """Flicker of the whole and of places for each of LIGHTS."""
    alone, filtered = LightOverTime(network, 0.0), LightOverTime(network)
    single = [alone(image, seconds) for image, seconds in frames]
    smooth = [filtered(image, seconds) for image, seconds in frames]
    one = single[int(torch.cat([light.exposure for light in single]).flatten().argsort()[len(single) // 2])]
    cuts = {index for index, (_, seconds) in enumerate(frames) if seconds in filtered.cuts}

    def shown(lights: Sequence[Light] | None) -> Iterator[Tensor]:
        for index, (image, _) in enumerate(frames):
            yield image if lights is None else network.under(lights[index], image, denoise=False)

    of_light: dict[str, Sequence[Light] | None] = dict(
        zip(LIGHTS, (None, [one] * len(frames), single, smooth), strict=True)
    )
    return {name: flicker(shown(lights), cuts) for name, lights in of_light.items()}


def flicker(frames: Iterator[Tensor], cuts: set[int]) -> dict[str, float]:
    """Mean change from frame to frame, of 255, of the whole and of places."""
    levels = torch.cat([F.adaptive_avg_pool2d(frame.float().mean(1, keepdim=True), PLACES) for frame in frames])
    kept = [index for index in range(1, len(levels)) if index not in cuts]
    change = (levels[1:] - levels[:-1])[[index - 1 for index in kept]]
    return {"whole": float(change.mean(dim=(1, 2, 3)).abs().mean()), "places": float(change.abs().mean())}


def speed(file: Path, network: OneExposure, denoise: bool, frames: int) -> dict[str, float]:
    """Frames a second by the clock and processor milliseconds a frame, of a clip at 720p from file to file."""
    settings = EnhanceSettings(input=("clip",), video=VideoSettings(denoise=denoise))
    with TemporaryDirectory() as folder:
        clip, result = Path(folder, "clip.mp4"), Path(folder, "result.mp4")
        write_720p((pixels for pixels, _ in islice(read_frames(file), frames)), clip)
        change = ByFrames(lle.load("bundled"), settings, "clip.mp4")
        began = time.perf_counter(), time.process_time()
        with one_core_left():
            done = rewrite_clip(clip, result, change)
        taken, used = time.perf_counter() - began[0], time.process_time() - began[1]
    return {"frames a second": done.frames / taken, "processor ms": 1000 * used / done.frames}


def whole_and_by_segments(file: Path) -> dict[str, float]:
    """Processor milliseconds a frame at 720p, without denoising, as a whole and in segments that are joined."""
    settings, network = EnhanceSettings(input=("clip",)), lle.load("bundled")
    with TemporaryDirectory() as folder, one_core_left():
        clip, result = Path(folder, "clip.mp4"), Path(folder, "result.mp4")
        count = write_720p((pixels for pixels, _ in _to_and_fro([*read_frames(file)], 2 * SEGMENT_SECONDS)), clip)
        began = time.process_time()
        rewrite_clip(clip, result, ByFrames(network, settings, clip.name))
        between = time.process_time()
        segments = []
        for index in range(2):
            change = ByFrames(network, settings, clip.name)
            segments.append(
                rewrite_segment(clip, change, index, 2, lead=LEAD * settings.video.seconds, watch=change.watch)
            )
        join_segments(clip, segments, result)
        ended = time.process_time()
    return {"whole": 1000 * (between - began) / count, "by segments": 1000 * (ended - between) / count}


def apart(network: OneExposure, frames: Clip) -> dict[str, float]:
    """By how many stops exposure differs between a clip as a whole and by segments, at most and on average."""
    whole, segment, begins = LightOverTime(network), LightOverTime(network), 0.0
    differences = list[float]()
    long = list(_to_and_fro(frames, 3 * SEGMENT_SECONDS))
    for image, seconds in long:
        if seconds >= begins + SEGMENT_SECONDS:
            begins += SEGMENT_SECONDS
            segment = LightOverTime(network)
            for before, then in long:
                if begins - LEAD * SECONDS <= then < begins:
                    segment(before, then)
        differences.append(abs(float(whole(image, seconds).exposure - segment(image, seconds).exposure)) / math.log(2))
    return {"at most": max(differences), "on average": sum(differences) / len(differences)}


def _to_and_fro(frames: Sequence[tuple[Picture, float]], seconds: float) -> Iterator[tuple[Picture, float]]:
    step, index = (frames[-1][1] - frames[0][1]) / (len(frames) - 1), 0
    while index * step < seconds:
        place = index % (2 * len(frames) - 2)
        yield frames[min(place, 2 * len(frames) - 2 - place)][0], index * step
        index += 1


def write_720p(pictures: Iterable[np.ndarray], clip: Path) -> int:
    """Write pictures at 30 a second; returns how many."""
    import av

    count = 0
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "18", "preset": "veryfast"})
        stream.height, stream.width = SPEED_SIZE
        for count, pixels in enumerate(pictures, start=1):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(stream.width, stream.height, "yuv420p")
            frame.pts = count - 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return count


def as_text(found: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    measures: tuple[tuple[str, Callable[[dict[str, float]], float]], ...] = (
        ("whole", lambda of: of["whole"]),
        ("places", lambda of: of["places"]),
    )
    rows = [
        [f"{clip}: {name}", *(f"{value(by_light[light]):.2f}" for light in LIGHTS)]
        for clip, by_light in found["flicker"].items()
        for name, value in measures
    ]
    fast = [
        [name, f"{each['frames a second']:.1f}", f"{each['processor ms']:.0f}", f"{2000 / each['processor ms']:.1f}"]
        for name, each in found["speed"].items()
    ]
    return "\n\n".join(
        (
            f"{told(found['machine'])}.",
            "Mean change of level from frame to frame, of 255:",
            markdown_table(["clip", *LIGHTS], rows),
            "From file to file at 720p, H.264:",
            markdown_table(
                ["", "frames a second by the clock", "processor ms a frame", "that the time of two cores allows"],
                fast,
            ),
            f"By segments of {SEGMENT_SECONDS:.0f} s, with the {LEAD * SECONDS:.0f} s before each: "
            f"{found['processor ms']['by segments']:.0f} ms of processor time a frame, where the same clip as a whole "
            f"takes {found['processor ms']['whole']:.0f}. By how much their exposure differs from that of the whole:",
            markdown_table(
                ["clip, to and fro for a minute", "at most, stops", "on average"],
                [[clip, f"{by['at most']:.3f}", f"{by['on average']:.4f}"] for clip, by in found["apart"].items()],
            ),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
