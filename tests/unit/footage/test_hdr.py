import av
import numpy as np
import pytest
from PIL import Image

from helpers.common.artifacts import read_manifest
from helpers.footage import frames, video
from helpers.footage.decoding import frame_index

# Standard colours: white, greys, and what a detector may have to tell apart.
PATCHES = np.array(
    [(255, 255, 255), (128, 128, 128), (200, 30, 30), (240, 200, 20), (110, 160, 220), (70, 70, 72)]
)
TO_2020 = np.array(
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.088, 0.8956]]
)  # BT.2087
LUMINANCE = np.array([0.2627, 0.678, 0.0593])


def signal_of(patches, kind):
    """The HDR signal (0 to 1) of standard colours: BT.2408, their white at 203 cd/m2."""
    light = (patches / 255) ** 2.4 @ TO_2020.T * 203
    if kind == "HLG":
        display = light / 1000
        scene = display * (display @ LUMINANCE)[:, None] ** (1 / 1.2 - 1)
        bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)
    power = (light / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def record(path, signal, transfer, side=32):
    """Write a lossless 10-bit video of upright stripes of these R'G'B' signals in BT.2020."""
    luma = signal @ LUMINANCE
    planes = [
        64 + 876 * luma,
        512 + 896 * (signal[:, 2] - luma) / 1.8814,
        512 + 896 * (signal[:, 0] - luma) / 1.4746,
    ]
    sides = [(side, side), (side // 2, side // 2), (side // 2, side // 2)]
    with av.open(str(path), "w", format="matroska") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = side * len(signal), side, "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        stream.codec_context.colorspace, stream.codec_context.color_range = 9, 1
        frame = av.VideoFrame(stream.width, stream.height, "yuv420p10le")
        frame.color_trc, frame.colorspace, frame.color_range = transfer, 9, 1
        for plane, values, (height, width) in zip(frame.planes, planes, sides, strict=True):
            row = np.repeat(np.round(values).astype("<u2"), width)
            padded = np.zeros((height, plane.line_size // 2), "<u2")
            padded[:, : len(row)] = row
            plane.update(padded.tobytes())
        for _ in range(3):
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def patches_of(image, side=32):
    return np.array([image[side // 2, side * i + side // 2] for i in range(len(PATCHES))], int)


@pytest.mark.parametrize(("kind", "transfer"), [("HLG", 18), ("PQ", 16)])
def test_hdr_comes_out_in_the_standard_colours_it_was_made_of(tmp_path, kind, transfer, capsys):
    (tmp_path / "01/clips").mkdir(parents=True)
    path = record(tmp_path / "01/clips/phone.mkv", signal_of(PATCHES, kind), transfer)
    assert frame_index(path).hdr == kind
    first = next(video.read_frames(path))
    assert np.abs(patches_of(first) - PATCHES)[1:].max() <= 3
    assert patches_of(first)[0].min() >= 245  # white makes a little room for what is brighter
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02")
    with Image.open(out / "images/phone_00000.jpg") as image:
        assert np.abs(patches_of(np.asarray(image)) - PATCHES)[1:].max() <= 8
    assert f"phone.mkv: HDR ({kind}): tone-mapped" in "".join(capsys.readouterr())
    assert read_manifest(out)["counts"]["hdr"] == {"phone.mkv": kind}


def test_read_as_standard_it_would_be_washed_out(tmp_path):
    """The same signal without its mark: what the test above must be able to see."""
    path = record(tmp_path / "a.mkv", signal_of(PATCHES, "HLG"), 1)
    assert frame_index(path).hdr == ""
    assert np.abs(patches_of(next(video.read_frames(path))) - PATCHES).max() > 40


def test_what_is_brighter_than_white_stays_apart(tmp_path):
    signal = np.repeat(np.linspace(0.75, 1, 6)[:, None], 3, axis=1)
    first = next(video.read_frames(record(tmp_path / "a.mkv", signal, 18)))
    grey = patches_of(first)[:, 0]
    assert (np.diff(grey) >= 0).all()
    assert grey[0] < grey[3] < grey[-1] == 255


def test_the_case_of_a_phone(shared):
    """A chart that was put into HLG by the way that BT.2408 describes."""
    path = shared / "cases/27-phone-hdr-hlg/IMG_0003.MOV"
    first = next(video.read_frames(path))
    assert np.abs(patches_of(first, 64) - PATCHES)[1:].max() <= 3
