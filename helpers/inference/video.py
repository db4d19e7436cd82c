"""A detector run over a video: boxes drawn, detections listed."""

import csv
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers.common.artifacts import artifact, read_manifest
from helpers.common.palette import PREDICTION
from helpers.footage.video import read_frames, video_info, video_writer


def annotate_video(
    source: Path | str,
    folder: Path,
    *,
    detect: Callable,
    threshold: float = 0.4,
    seconds: float | None = None,
) -> dict:
    """Write `folder`/annotated.mp4 and `folder`/detections.csv of a video.

    Args:
        source: the video.
        detect: an `inference.Detector`.
        threshold: detections with a lower score are neither drawn nor listed.
        seconds: how much of the video to take; None takes all.

    Returns:
        {"frames": how many, "milliseconds": {"read": …, "detect": …, "draw and write": …}},
        milliseconds per frame, the first frame left out.
    """
    # Each time: what stands for a detector in a manifest does not tell two of them apart.
    made = _annotate_video(
        Path(source), folder, detect=detect, threshold=threshold, seconds=seconds, rebuild=True
    )
    return read_manifest(made)["counts"]


@artifact("annotate_video")
def _annotate_video(source: Path, folder: Path, *, detect, threshold: float, seconds) -> dict:
    import supervision as sv

    from helpers.common.progress import tqdm

    about = video_info(source)
    count = about.frames if seconds is None else min(about.frames, round(seconds * about.fps))
    colour = sv.Color.from_hex(PREDICTION)
    thickness = max(2, about.width // 500)
    names = sv.LabelAnnotator(
        color=colour, text_color=sv.Color.BLACK, text_scale=about.width / 2400, text_padding=4
    )
    times = []
    with (
        (folder / "detections.csv").open("w", newline="") as file,
        video_writer(folder / "annotated.mp4", about.fps, (about.width, about.height)) as write,
        tqdm(total=count, desc="video", unit="frame") as bar,
    ):
        table = csv.writer(file)
        table.writerow(("frame", "time", "label", "score", "xmin", "ymin", "xmax", "ymax"))
        began = time.perf_counter()
        for number, frame in enumerate(itertools.islice(read_frames(source), count)):
            read = time.perf_counter()
            found = detect(frame, threshold=threshold)
            detected = time.perf_counter()
            labels = found.data["class_name"]
            for label, score, xyxy in zip(labels, found.confidence, found.xyxy, strict=True):
                edges = (f"{value:.1f}" for value in xyxy)
                table.writerow((number, f"{number / about.fps:.3f}", label, f"{score:.3f}", *edges))
            if len(found):
                # supervision draws on BGR.
                scene = frame[..., ::-1].copy()
                for xyxy in found.xyxy:
                    _dashed(scene, xyxy, colour.as_bgr(), thickness)
                text = [f"{a} {b:.2f}" for a, b in zip(labels, found.confidence, strict=True)]
                frame = names.annotate(scene, found, labels=text)[..., ::-1]
            write(frame)
            done = time.perf_counter()
            times.append((read - began, detected - read, done - detected))
            began = done
            bar.update()
    if len(times) < count:
        print(f"{source.name}: ends after frame {len(times)} of {count}; the rest is damaged.")
    means = 1000 * np.array(times[1:] or times).mean(axis=0)
    steps = ("read", "detect", "draw and write")
    return {
        "frames": len(times),
        "milliseconds": dict(zip(steps, means.round(2).tolist(), strict=True)),
    }


def _dashed(
    scene: np.ndarray, xyxy: np.ndarray, colour: tuple[int, int, int], thickness: int
) -> None:
    """Draw a box as all guesses of the course are drawn: dashed."""
    import cv2

    x1, y1, x2, y2 = (round(float(value)) for value in xyxy)
    dash, gap = 4 * thickness, 5 * thickness // 2
    for start in range(x1, x2, dash + gap):
        for y in (y1, y2):
            cv2.line(scene, (start, y), (min(start + dash, x2), y), colour, thickness)
    for start in range(y1, y2, dash + gap):
        for x in (x1, x2):
            cv2.line(scene, (x, start), (x, min(start + dash, y2)), colour, thickness)
