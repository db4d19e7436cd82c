import itertools
import random
import re

import cv2
import pytest

from helpers.annotations.clips import clips_of, read_groups, recordings_of
from helpers.common.errors import CourseError
from helpers.common.images import decode_file, phash

HASH = "0123456789abcdef" * 2


def together(names, **known):
    """The names as sets, one for each clip of more than one picture."""
    clips = clips_of(names, **known).of
    assert list(clips) == list(names)
    sets = {clip: {n for n in names if clips[n] == clip} for clip in clips.values()}
    return [group for group in sets.values() if len(group) > 1]


def roboflow(base, copies=3):
    return [f"{base}_jpg.rf.{HASH[:-1]}{i:x}.jpg" for i in range(copies)]


VIDEOS = {
    "roboflow copies": [roboflow("yard"), roboflow("IMG_1234"), roboflow("IMG_1235")],
    "roboflow, another hash": [[f"a.rf.AbCdEfGhIjKlMnOpQrSt{i}.png" for i in "12"]],
    "roboflow, frames": [[roboflow(f"videoplayback{n:04}", 1)[0] for n in range(51, 90, 7)]],
    "roboflow, a video": [[roboflow(f"{v}_mp4-{n}", 1)[0] for n in range(3)] for v in "ab"],
    "video counter": [[f"videoplayback{n:04}.jpg" for n in (51, 52, 60)]],
    "vott": [[f"{v}.mp4#t={t}.jpg" for t in ("0", "1.5", "3.2")] for v in ("yard", "street")],
    "vott, percent": [["yard.mp4%23t=0.jpg", "yard.mp4%23t=1.5.jpg", "yard.mp4#t=2.jpg"]],
    "lisa": [[f"dayClip{v}--{n:05}.jpg" for n in range(4)] for v in (1, 2)],
    "frames": [[f"frame_{n:06}.jpg" for n in range(9)]],
    "frames of folders": [[f"task_drive{v}_frame_{n:06}.jpg" for n in range(3)] for v in "12"],
    "two of each": [[f"drive{v}_frame_{n}.jpg" for n in (7, 90)] for v in "12"],
    "label studio": [[f"a1b2c3{n:02}-frame_{n:04}.jpg" for n in range(4)]],
    "vlc": [[f"vlcsnap-2024-05-12-07h15m0{s}s123.png" for s in range(3)]],
    "drone": [[f"DJI_2024051207150{s}_000{s}_D.JPG" for s in range(3)]],
    "steps": [[f"roadside_{v:03}_sun_{n:05}.jpg" for n in range(0, 60, 15)] for v in range(3)],
    "gopro": [["GX010012.MP4", "GX020012.MP4"], ["GOPR0012.MP4", "GP010012.MP4"]],
    "gopro frames": [[f"GH0{part}0012_{n:05}.jpg" for part in "12" for n in (0, 30)]],
    "burst": [["IMG_20240512_071500.jpg", "PXL_20240512_071504123.jpg"]],
    "times": [[f"2024-05-12-07-15-{s:02}.jpg" for s in (0, 9, 18)]],
    "unix": [[f"{1589274123 + s}.jpg" for s in range(5)]],
    "unix, ms": [[f"{1589274123000 + 500 * s}.jpg" for s in range(5)]],
}


@pytest.mark.parametrize("kind", VIDEOS)
def test_what_the_names_tell(kind):
    groups = VIDEOS[kind]
    others = ["IMG_0001.jpg", "cat.0.jpg", "3f2504e0-4f89-11d3-9a0c-0305e82c3301.jpg"]
    names = [*itertools.chain(*groups), *others]
    assert together(names) == [set(group) for group in groups]
    clips = clips_of(names)
    assert clips.unknown == 3
    assert clips.rule.startswith("names: ")
    assert "; what 3 pictures belong to cannot be known from the names" in clips.rule


@pytest.mark.parametrize(
    "names",
    [
        [f"raccoon-{n}.jpg" for n in range(1, 200)],
        [f"BloodImage_{n:05}.jpg" for n in range(30)],
        [f"{n:06}.jpg" for n in (5, 7, 9, 12, 16, 17, 19)],
        [f"2008_{n:06}.jpg" for n in (2, 3, 7, 8, 15)],
        [f"{animal}.{n}.jpg" for animal in ("cat", "dog") for n in range(9)],
        [f"IMG_{n}.jpg" for n in range(1234, 1250)],
        [f"paperclip_{n:03}.jpg" for n in range(9)],
        [f"movie_poster_{n:03}.jpg" for n in range(9)],
        [f"thumbsup.0000000{n}-1111-11ec-aaaa-000000000000.jpg" for n in range(6)],
        [f"0000000{n}-1111-11ec-aaaa-000000000000.jpg" for n in range(6)],
        [f"{n}_693b08cb0e.jpg" for n in (1000268201, 1001773457, 1002674143, 1002674144)],
    ],
    ids=lambda names: names[0],
)
def test_numbered_photos_are_not_one_clip(names):
    clips = clips_of(names)
    assert len(set(clips.of.values())) == len(names) == clips.unknown
    assert "cannot be known from the names" in clips.rule


def test_pictures_long_apart_are_two_clips():
    names = ["2024-05-12-07-15-00.jpg", "2024-05-12-07-15-11.jpg", "20240231_999999.jpg"]
    assert together(names) == []


def test_videos_that_are_parts_of_one_recording():
    names = ["2024_0512_071500_0000F.TS", "2024_0512_071600_0001F.TS", "2024_0512_071801_0002F.TS"]
    names += ["GX010012.MP4", "GX020012.MP4", "clip_1.mov", "clip_2.mov", "clip_3.mov"]
    found = recordings_of(dict.fromkeys(names, 60.0))
    assert list(found.of.values()) == [
        *("2024_0512_071500_0000F", "2024_0512_071500_0000F", "2024_0512_071801_0002F"),
        *("GX_0012", "GX_0012", "clip_1", "clip_2", "clip_3"),
    ]
    assert "GoPro" in found.rule
    assert "every other video is a clip" in found.rule
    assert recordings_of(dict.fromkeys(names, 1.0)).of[names[1]] == "2024_0512_071600_0001F"
    assert recordings_of({"a.mp4": 1.0}).rule == "each video is a clip"
    assert recordings_of(dict.fromkeys(names, 1.0), "(.)lip").of["clip_3.mov"] == "c"


def drive(rng, count, step=2):
    """Hashes of so many frames, each `step` bits from the one before."""
    code = rng.getrandbits(64)
    codes = [code]
    for _ in range(count - 1):
        for bit in rng.sample(range(64), step):
            code ^= 1 << bit
        codes.append(code)
    return codes


def test_likeness_tells_frames_from_photos():
    rng = random.Random(0)
    names = [f"yard-{n:03}.jpg" for n in range(60)]
    frames = dict(zip(names, drive(rng, 60), strict=True))
    clips = clips_of([*names, "a.jpg"], hashes=frames)
    assert len(set(clips.of.values())) == 2
    assert "neighbours look alike" in clips.rule
    photos = {name: rng.getrandbits(64) for name in names}
    clips = clips_of(names, hashes=photos)
    assert len(set(clips.of.values())) == 60 == clips.unknown
    assert "no more alike than others" in clips.rule


@pytest.mark.parametrize("camera", ["IMG_", "DSC0", "P10"])
def test_photos_of_a_walk_are_no_clip_even_if_neighbours_look_alike(camera):
    names = [f"{camera}{n:04}.jpg" for n in range(0, 120, 2)]
    walk = dict(zip(names, drive(random.Random(0), 60), strict=True))
    assert together(names, hashes=walk) == []
    assert clips_of(names, hashes=walk).unknown == 60
    place = dict(zip(names, itertools.cycle([8, 9, 24]), strict=False))
    assert len(together(names, hashes=place)) == 1


def test_augmented_copies_of_photos_do_not_make_them_frames():
    rng = random.Random(0)
    names = [name for n in range(20) for name in roboflow(f"IMG_{n:04}")]
    codes = [rng.getrandbits(64) for _ in range(20)]
    hashes = {name: codes[i // 3] for i, name in enumerate(names)}
    assert {len(group) for group in together(names, hashes=hashes)} == {3}


def test_a_series_of_all_pictures_is_cut_where_the_scene_changes():
    rng = random.Random(0)
    codes = [*drive(rng, 30), *drive(rng, 40)]
    codes[10] = rng.getrandbits(64)  # a flash, after which the same drive goes on
    codes[50] = None  # a picture that cannot be decoded
    names = [f"frame{n}.jpg" for n in range(70)]
    known = {n: code for n, code in zip(names, codes, strict=True) if code is not None}
    clips = clips_of(names, hashes=known)
    assert together(names, hashes=known) == [set(names[:30]), set(names[30:])]
    assert set(clips.of.values()) == {"frame_0", "frame_30"}
    assert "cut where the scene changes" in clips.rule
    assert len(together(names)) == 1


def test_a_camera_on_a_wall_is_one_clip():
    rng = random.Random(0)
    names = [f"{n:04}.jpg" for n in range(40)]
    hashes = {name: 12345 ^ (1 << rng.randrange(64)) for name in names}
    assert together(names, hashes=hashes) == [set(names)]


def test_a_pattern_overrules():
    names = ["north_a_1.jpg", "north_b_2.jpg", "south_a_1.jpg", "other.jpg"]
    assert together(names, pattern="^([a-z]+)_") == [set(names[:2])]
    assert clips_of(names, "^([a-z]+)_").of["other.jpg"] == "other"
    assert "1 that it does not fit" in clips_of(names, "^([a-z]+)_").rule
    frames = [f"frame_{n:06}.jpg" for n in range(9)]
    assert together(frames, pattern="") == []


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "no regular expression"),
        ("frame", "put ( ) around"),
        ("(drive[0-9])", "fits none of 2 names, such as frame_1.jpg"),
    ],
)
def test_a_wrong_pattern_is_named(pattern, message):
    with pytest.raises(CourseError, match=re.escape(message)):
        clips_of(["frame_1.jpg", "frame_2.jpg"], pattern)


NAMES = ["F0.JPG", "Br\u00fccke.png", "drive1_f1.jpg", "drive2_f1.jpg"]


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("F0.JPG", NAMES[0]),
        ("f0", NAMES[0]),
        ("f0.png", NAMES[0]),
        ("C:\\work\\f0.jpg", NAMES[0]),
        ("Bru\u0308cke.PNG", NAMES[1]),
        ("images/drive1/f1.jpg", NAMES[2]),
    ],
)
def test_groups_are_matched_as_leniently_as_pictures(tmp_path, stated, name):
    (tmp_path / "groups.csv").write_text(f"image,clip\n{stated},a\n", encoding="utf-8")
    assert read_groups(tmp_path / "groups.csv", NAMES) == {name: "a"}


def test_rows_of_groups_that_fit_nothing(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("image,clip\nF0.JPG,a\nf1.jpg,a\ndrive1_f1.jpg,\n")
    with pytest.raises(CourseError, match=r"groups.csv: line 3: 'f1.jpg' is no picture here"):
        read_groups(path, NAMES)
    remarks = []
    assert read_groups(path, NAMES, remarks.append) == {"F0.JPG": "a"}
    assert [(r.where, r.kind) for r in remarks] == [("line 3", "no image"), ("line 4", "no image")]
    path.write_text("image,clip\nx.jpg,a\n")
    with pytest.raises(CourseError, match=r"line 2: 'x.jpg' is no picture here.*none of its rows"):
        read_groups(path, NAMES, remarks.append)


@pytest.mark.parametrize(
    ("case", "clips"),
    [
        ("10-vott-video-frames", {"yard", "street"}),
        ("31b-lisa-box-only", {"dayClip1"}),
        ("26-gopro-card", {"GX_0012", "GL_0012"}),
    ],
)
def test_cases(shared, case, clips):
    suffixes = (".jpg", ".MP4", ".LRV")
    names = [path.name for path in (shared / "cases" / case).rglob("*") if path.suffix in suffixes]
    assert set(clips_of(sorted(names)).of.values()) == clips


def test_case_34(shared):
    folder = shared / "cases/34-groups-csv-no-extension"
    names = [path.name for path in folder.glob("*.jpg")]
    groups = read_groups(folder / "groups.csv", names)
    assert {name: groups[name] for name in ("f0.jpg", "f7.jpg")} == {
        "f0.jpg": "drive0",
        "f7.jpg": "drive1",
    }


@pytest.mark.parametrize(
    ("folder", "count", "least", "most"),
    [
        ("raccoon/images", 200, 200, 200),
        ("bccd/JPEGImages", 120, 120, 120),
        ("speedtraps/images", 160, 3, 12),
    ],
)
def test_real_sets(shared, folder, count, least, most):
    number = re.compile("[0-9]+")
    paths = sorted(
        (shared / "datasets" / folder).glob("*.jpg"),
        key=lambda path: int(number.findall(path.name)[0]),
    )[:count]
    read = {path.name: decode_file(path, cv2.IMREAD_REDUCED_GRAYSCALE_2) for path in paths}
    hashes = {name: int(phash(image), 16) for name, image in read.items() if image is not None}
    clips = clips_of(list(hashes), hashes=hashes)
    assert least <= len(set(clips.of.values())) <= most
