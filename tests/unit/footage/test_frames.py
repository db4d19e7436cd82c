import os

import numpy as np
import pytest
from damage import damage
from PIL import Image, ImageFilter

from helpers import plots
from helpers.annotations import voc
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.pairing import pair, read_folder
from helpers.annotations.remarks import Remark
from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.common.images import phash
from helpers.footage import frames, own, video


def scene(seed=0, size=(160, 120)):
    small = np.random.default_rng(seed).integers(0, 255, (15, 20, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.NEAREST))


def make_clip(folder, name="clip_a", count=20, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    with video.video_writer(folder / f"{name}.mp4", 25, (160, 120)) as write:
        for i in range(count):
            write(np.roll(scene(seed), 3 * i, axis=1))
    return folder / f"{name}.mp4"


def table(folder):
    return read_csv(folder / "frames.csv", frames.COLUMNS)


@pytest.fixture
def source(tmp_path):
    make_clip(tmp_path / "01_images/clips")
    (tmp_path / "01_images/sources.csv").write_text("file,licence,origin\nclip_a.mp4,own,here\n")
    return tmp_path / "01_images"


def test_every_nth_frame_with_its_number_and_time(source, tmp_path):
    out = frames.extract_frames(source, tmp_path / "02_frames", every=6)
    rows = table(out)
    assert [row["image"] for row in rows] == [f"clip_a_{i:05d}.jpg" for i in (0, 6, 12, 18)]
    assert [row["clip"] for row in rows] == ["clip_a"] * 4
    assert [row["time"] for row in rows] == ["0.000", "0.240", "0.480", "0.720"]
    assert all(len(row["phash"]) == 16 and float(row["sharpness"]) > 0 for row in rows)
    assert (out / "sources.csv").is_file()
    with Image.open(out / "images" / rows[1]["image"]) as image:
        pixels = np.asarray(image, int)
    differences = [np.abs(pixels - np.roll(scene(), 3 * i, axis=1)).mean() for i in range(20)]
    assert np.argmin(differences) == 6


def test_max_frames_spreads_them(source, tmp_path):
    out = frames.extract_frames(source, tmp_path / "02_frames", max_frames=3)
    assert [row["frame"] for row in table(out)] == ["0", "10", "19"]


def test_ground_truth_becomes_an_annotation_per_frame(source, tmp_path):
    (source / "clips/clip_a.boxes.csv").write_text(
        "frame,track,label,xmin,ymin,xmax,ymax,distance_m,visibility,difficult\n"
        "0,1,speed_camera,10.5,20,30,60,40,1.0,0\n"
        "0,2,car,50,20,90,60,20,0.3,1\n"
        "3,1,speed_camera,11,20,31,60,39,1.0,0\n"
    )
    out = frames.extract_frames(source, tmp_path / "02_frames", every=2)
    assert len(list((out / "annotations").iterdir())) == 10
    first = voc.read_voc(out / "annotations/clip_a_00000.xml")
    assert first.boxes == (
        Box("speed_camera", 10.5, 20, 30, 60),
        Box("car", 50, 20, 90, 60, difficult=True),
    )
    assert (first.image, first.width, first.height) == ("clip_a_00000.jpg", 160, 120)
    # A frame without objects says so: it is background, not forgotten.
    assert voc.read_voc(out / "annotations/clip_a_00002.xml").boxes == ()


def remarks(folder):
    rows = read_csv(folder / "remarks.csv", Remark._fields)
    return [(row["file"], row["where"], row["kind"], row["value"]) for row in rows]


def test_a_wrong_line_in_the_ground_truth_is_named_and_its_frame_left_out(source, tmp_path, capsys):
    (source / "remarks.csv").write_text("file,where,kind,value,fix\na.txt,,not used,odd,none\n")
    (source / "clips/clip_a.boxes.csv").write_text(
        "frame,label,xmin,ymin,xmax,ymax\n"
        "0,radar,1,2,3,4\n1,radar,5,6,7,8\n1,radar,left,2,3,4\n2,radar,nan,2,3,4\n"
        "3,,1,2,3,4\n4.5,radar,1,2,3,4\n5,radar,1,2,300,4\n20,radar,1,2,3,4\n"
    )
    out = frames.extract_frames(source, tmp_path / "02_frames")
    assert [row[:3] for row in remarks(out)] == [
        ("a.txt", "", "not used"),
        *[("clip_a.boxes.csv", f"line {line}", "bad line") for line in (4, 5, 6, 7)],
        ("clip_a.boxes.csv", "", "no image"),
    ]
    assert remarks(out)[-1][3] == "frame 20: clip_a.mp4 has 20, counted from 0"
    printed = capsys.readouterr().out
    assert "clip_a.boxes.csv: line 4: xmin: 'left' is no number; correct it.\n" in printed
    assert "All 5 such remarks are in remarks.csv." in printed
    annotated = {int(path.stem[-5:]) for path in (out / "annotations").iterdir()}
    assert annotated == set(range(20)) - {1, 2, 3}
    # What is outside is for the audit of lesson 03 to mend, as it is for pictures.
    assert voc.read_voc(out / "annotations/clip_a_00005.xml").boxes[0].xmax == 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("frame,label\n0,radar\n".encode("utf-16"), "UTF-16"),
        (
            "frame,label,xmin,ymin,xmax,ymax\n0,caf\xe9,1,2,3,4\n".encode("latin-1"),
            "line 2: not UTF",
        ),
        (b"", "no column 'frame'"),
        (b"frame,label,xmin,ymin,xmax,ymax\n0," + b"x" * 200_000 + b",1,2,3,4\n", "line .: no CSV"),
        (b"frame,label,xmin,ymin,xmax,ymax\n0,radar,1,5,2,3,4\n", "line 2: not 6 cells"),
    ],
    ids=["utf-16", "latin-1", "empty", "huge cell", "decimal comma"],
)
def test_a_ground_truth_that_is_no_table_is_refused(source, tmp_path, content, message):
    (source / "clips/clip_a.boxes.csv").write_bytes(content)
    with pytest.raises(CourseError, match=rf"clip_a.boxes.csv: {message}"):
        frames.extract_frames(source, tmp_path / "02_frames")
    assert not (tmp_path / "02_frames").exists()


def test_only_annotated_frames_are_taken_where_they_are_listed(source, tmp_path):
    (source / "clips/clip_a.boxes.csv").write_text(
        "frame,label,xmin,ymin,xmax,ymax\n3,radar,1,2,30,40\n"
    )
    listed = source / "clips/clip_a.frames.csv"
    listed.write_text("frame\n3\n4\n5\n12\n99\nx\n")
    out = frames.extract_frames(source, tmp_path / "02_frames")
    assert [row["frame"] for row in table(out)] == ["3", "4", "5", "12"]
    found = {path.stem: len(voc.read_voc(path).boxes) for path in (out / "annotations").iterdir()}
    assert found == {f"clip_a_{n:05d}": int(n == 3) for n in (3, 4, 5, 12)}
    assert [row[:3] for row in remarks(out)] == [
        ("clip_a.frames.csv", "line 7", "bad line"),
        ("clip_a.frames.csv", "", "no image"),
    ]

    def taken(**step):
        out = frames.extract_frames(source, tmp_path / "02_frames", **step)
        return [int(row["frame"]) for row in table(out)]

    # The step thins out neighbours, and leaves alone what was annotated farther apart.
    assert taken(every=2) == [3, 5, 12]
    assert taken(seconds=0.2) == [3, 5, 12]
    assert taken(count=2) == [3, 12]
    listed.write_text("frame\n")  # nothing was annotated: no frame is known to be empty
    out = frames.extract_frames(source, tmp_path / "02_frames", every=10)
    assert [row["frame"] for row in table(out)] == ["0", "10"]
    assert not list((out / "annotations").iterdir())


def test_chapters_of_a_camera_are_one_clip(tmp_path):
    for name in ("GX010012", "GX020012", "GX010013"):
        make_clip(tmp_path / "01/clips", name, count=3)
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02", every=2)
    clips = {row["image"]: row["clip"] for row in table(out)}
    assert clips["GX010012_00000.jpg"] == clips["GX020012_00002.jpg"] == "GX_0012"
    assert clips["GX010013_00000.jpg"] == "GX_0013"
    counts = read_manifest(out)["counts"]
    assert counts["clips"] == 2
    assert "GoPro" in counts["clip_rule"]
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02", every=2, clip_pattern="")
    assert {row["clip"] for row in table(out)} == {"GX010012", "GX020012", "GX010013"}


def test_a_video_that_ends_early_is_used_as_far_as_it_goes(source, tmp_path, capsys):
    path = make_clip(source / "clips", "clip_b", count=60, seed=1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    out = frames.extract_frames(source, tmp_path / "02_frames")
    numbers = [int(row["frame"]) for row in table(out) if row["clip"] == "clip_b"]
    assert 0 < len(numbers) < 60
    assert numbers == list(range(len(numbers)))
    short = read_manifest(out)["counts"]["short"]
    assert short == {"clip_b.mp4": f"ends before frame {len(numbers)} of 60"}
    printed = "".join(capsys.readouterr())
    assert f"clip_b.mp4: ends before frame {len(numbers)} of 60" in printed


def test_a_file_that_is_no_video_is_left_out(source, tmp_path):
    (source / "clips/clip_z.mp4").write_text("no video")
    (source / "clips/folder.mp4").mkdir()
    out = frames.extract_frames(source, tmp_path / "02_frames")
    assert {row["clip"] for row in table(out)} == {"clip_a"}
    assert [row[:3] for row in remarks(out)] == [("clip_z.mp4", "", "not used")]
    (source / "clips/clip_a.mp4").unlink()
    with pytest.raises(CourseError, match=r"clip_z.mp4: not a readable video"):
        frames.extract_frames(source, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_empty_and_missing_folders(source, tmp_path):
    (source / "clips/clip_a.mp4").unlink()
    with pytest.raises(CourseError, match="clips: no video in it"):
        frames.extract_frames(source, tmp_path / "02_frames")
    with pytest.raises(CourseError, match=r"nowhere: neither clips/ nor images/"):
        frames.extract_frames(tmp_path / "nowhere", tmp_path / "02_frames")


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"every": 1.5},
        {"count": 0},
        {"count": 2.5},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"max_frames": 0},
        {"min_sharpness": 40},
        {"near_copies": -1},
        {"every": 2, "seconds": 1},
        {"seconds": 1, "count": 3},
    ],
)
def test_wrong_parameters(source, tmp_path, options):
    with pytest.raises(CourseError, match=next(iter(options))):
        frames.extract_frames(source, tmp_path / "02_frames", **options)


def test_names_with_blanks_and_other_letters(tmp_path):
    make_clip(tmp_path / "01/clips", "Fahrt 1 über 速度", count=3)
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02_frames")
    names = [row["image"] for row in table(out)]
    assert names[2] == "Fahrt 1 über 速度_00002.jpg"
    assert all((out / "images" / name).is_file() for name in names)


def test_two_videos_of_one_name_are_refused(source, tmp_path):
    (source / "clips/clip_a.mov").write_bytes((source / "clips/clip_a.mp4").read_bytes())
    with pytest.raises(CourseError, match=r"clip_a.mov and clip_a.mp4: same name"):
        frames.extract_frames(source, tmp_path / "02_frames")
    # Between the two in the order of names lies another.
    (source / "clips/clip_a.mov").rename(source / "clips/clip_a.avi")
    (source / "clips/clip_a.cut.mov").write_bytes((source / "clips/clip_a.mp4").read_bytes())
    with pytest.raises(CourseError, match=r"clip_a.avi and clip_a.mp4: same name"):
        frames.extract_frames(source, tmp_path / "02_frames")


def test_what_macos_puts_beside_a_video_is_no_video(source, tmp_path):
    (source / "clips/._clip_a.mp4").write_bytes(b"Mac OS X")
    assert table(frames.extract_frames(source, tmp_path / "02_frames"))


def test_annotations_of_another_name_come_along(tmp_path):
    source = tmp_path / "01_images"
    (source / "images").mkdir(parents=True)
    (source / "annotations").mkdir()
    for i in range(3):
        Image.fromarray(scene(i)).save(source / f"images/photo {i}.jpg")
    for xml, image in (("ann_7", "photo 0.jpg"), ("photo 2", "photo 2.jpg")):
        about = Annotation(image, 160, 120, (Box("radar", 1, 1, 20, 20),))
        voc.write_voc(about, source / f"annotations/{xml}.xml")
    out = frames.extract_frames(source, tmp_path / "02_frames", max_frames=2)
    assert [row["image"] for row in table(out)] == ["photo 0.jpg", "photo 2.jpg"]
    found = read_folder(out / "annotations")
    assert set(pair(["photo 0.jpg", "photo 2.jpg"], found)) == {
        "photo 0.jpg",
        "photo 2.jpg",
    }
    few = frames.extract_frames(source, tmp_path / "few", max_frames=1)
    assert [row["image"] for row in table(few)] == ["photo 0.jpg"]
    assert [p.name for p in (few / "annotations").iterdir()] == ["ann_7.xml"]


def test_photos_are_taken_over_as_they_are(tmp_path):
    source = tmp_path / "01_images"
    (source / "images").mkdir(parents=True)
    (source / "annotations").mkdir()
    for i in range(4):
        Image.fromarray(scene(i)).save(source / f"images/photo {i}.jpg")
    (source / "images/photo 4.jpg").write_bytes(b"broken")
    (source / "images/photo 5.jpg").write_bytes(b"")
    box = Box("radar", 1, 1, 20, 20)
    voc.write_voc(Annotation("photo 0.jpg", 160, 120, (box,)), source / "annotations/photo 0.xml")
    (source / "groups.csv").write_text("image,clip\nphoto 0.jpg,street\nphoto 1.jpg,street\n")
    out = frames.extract_frames(source, tmp_path / "02_frames")
    rows = table(out)
    assert [row["clip"] for row in rows] == [
        "street",
        "street",
        *(f"photo {i}" for i in range(2, 6)),
    ]
    assert rows[4]["phash"] == rows[5]["phash"] == ""
    assert rows[0]["phash"] != rows[1]["phash"]
    name = "images/photo 0.jpg"
    assert (out / name).read_bytes() == (source / name).read_bytes()
    # Editing an annotation in 02 must not change 01.
    (out / "annotations/photo 0.xml").write_text("changed")
    assert voc.read_voc(source / "annotations/photo 0.xml").boxes == (box,)
    assert len(table(frames.extract_frames(source, tmp_path / "few", max_frames=2))) == 2


def test_blur_lowers_sharpness_and_hardly_moves_the_hash():
    sharp = Image.fromarray(scene())
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(2)))
    sharp = np.asarray(sharp)
    assert frames.sharpness(blurred) < frames.sharpness(sharp) / 5

    def bits(a, b):
        return (int(phash(a), 16) ^ int(phash(b), 16)).bit_count()

    assert bits(sharp, blurred) <= 6 < bits(sharp, scene(1))


def clip_of(path, pictures, *, times=None, turned=0):
    """A clip of these pictures; `times` in milliseconds, `turned` as a phone notes it."""
    from fractions import Fraction

    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "18", "bf": "0"}
        stream.codec_context.gop_size = 12
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if turned:
            stream.set_display_rotation(-turned)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = times[i] if times else 40 * i, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def moving(count, seed=0, step=3):
    return [np.roll(scene(seed), step * i, axis=1) for i in range(count)]


def dropped(folder):
    return read_csv(folder / "dropped.csv", frames.DROPPED_COLUMNS)


def numbers(rows):
    return [int(row["frame"]) for row in rows]


def test_every_t_seconds_by_the_times_in_the_file(tmp_path):
    # 25 per second for half a second, then 5 per second.
    times = [40 * i for i in range(13)] + [480 + 200 * i for i in range(1, 12)]
    clip_of(tmp_path / "01/clips/a.mp4", moving(24), times=times)
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02", seconds=0.25)
    rows = table(out)
    assert numbers(rows) == [0, 6, 12, 13, 15, 16, 17, 18, 20, 21, 22]
    assert [round(1000 * float(row["time"])) for row in rows] == [times[n] for n in numbers(rows)]
    assert read_manifest(out)["counts"]["variable_rate"] == ["a.mp4"]


def test_every_t_seconds_at_a_constant_rate(source, tmp_path):
    out = frames.extract_frames(source, tmp_path / "02", seconds=0.2)
    assert numbers(table(out)) == [0, 5, 10, 15]
    assert numbers(table(frames.extract_frames(source, tmp_path / "one", seconds=99))) == [0]
    assert len(table(frames.extract_frames(source, tmp_path / "all", seconds=0.001))) == 20


def test_so_many_frames_over_the_clip(source, tmp_path):
    assert numbers(table(frames.extract_frames(source, tmp_path / "02", count=5))) == [
        0,
        5,
        10,
        14,
        19,
    ]
    assert len(table(frames.extract_frames(source, tmp_path / "all", count=99))) == 20
    out = frames.extract_frames(source, tmp_path / "fewer", count=5, max_frames=2)
    assert numbers(table(out)) == [0, 19]


def test_blurred_frames_are_dropped_by_the_clip_s_own_measure(tmp_path):
    pictures = moving(12, step=16)
    for i in (4, 5):
        blurred = Image.fromarray(pictures[i]).filter(ImageFilter.GaussianBlur(3))
        pictures[i] = np.asarray(blurred)
    clip_of(tmp_path / "01/clips/a.mp4", pictures)
    # A clip in fog: every frame is less sharp than those, and none is dropped.
    grey = [(0.1 * picture + 115).astype(np.uint8) for picture in moving(12, seed=1, step=16)]
    clip_of(tmp_path / "01/clips/fog.mp4", grey)
    (tmp_path / "01/clips/a.boxes.csv").write_text("frame,label,xmin,ymin,xmax,ymax\n")
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02", min_sharpness=0.5)
    gone = dropped(out)
    assert [(row["clip"], row["frame"], row["reason"]) for row in gone] == [
        ("a", "4", "blurred"),
        ("a", "5", "blurred"),
    ]
    assert gone[0]["detail"].startswith(f"sharpness {gone[0]['sharpness']}, under ")
    assert len(table(out)) == 22
    assert float(table(out)[-1]["sharpness"]) < float(gone[0]["sharpness"]) * 20
    assert not (out / "images/a_00004.jpg").exists()
    assert not (out / "annotations/a_00004.xml").exists()
    assert (out / "annotations/a_00003.xml").exists()
    with Image.open(out / "dropped" / gone[0]["thumbnail"]) as small:
        assert max(small.size) <= 240
    assert read_manifest(out)["counts"]["blurred"] == 2


def test_near_copies_of_the_last_kept_frame_are_dropped(tmp_path):
    pictures = [scene(0)] * 5 + [scene(1)] * 5 + [scene(0)] * 2
    clip_of(tmp_path / "01/clips/a.mp4", pictures)
    clip_of(tmp_path / "01/clips/b.mp4", [scene(0)] * 3)
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02", near_copies=6)
    # The same picture once more, later on, is not a neighbour; nor is that of another clip.
    assert [row["image"] for row in table(out)] == [
        "a_00000.jpg",
        "a_00005.jpg",
        "a_00010.jpg",
        "b_00000.jpg",
    ]
    assert {row["reason"] for row in dropped(out)} == {"near-copy"}
    assert dropped(out)[0]["detail"].endswith("bits from a_00000.jpg")
    assert len(table(frames.extract_frames(tmp_path / "01", tmp_path / "all"))) == 15


def test_a_blurred_frame_is_no_measure_for_near_copies(tmp_path):
    blurred = np.asarray(Image.fromarray(scene()).filter(ImageFilter.GaussianBlur(2)))
    clip_of(tmp_path / "01/clips/a.mp4", [blurred, scene(), scene(), scene()])
    options = {"min_sharpness": 0.5, "near_copies": 10}
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02", **options)
    assert numbers(table(out)) == [1]
    assert [row["reason"] for row in dropped(out)] == ["blurred", "near-copy", "near-copy"]


def test_a_phone_clip_is_turned_and_that_is_said(tmp_path, capsys):
    clip_of(tmp_path / "01/clips/phone.mov", moving(3), turned=90)
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02")
    with Image.open(out / "images/phone_00000.jpg") as image:
        upright = np.asarray(image, int)
    assert upright.shape == (160, 120, 3)
    assert np.abs(upright - np.rot90(scene(), -1)).mean() < 12
    # The hash is that of the picture as written, and so is the sharpness.
    row = table(out)[0]
    written = upright.astype(np.uint8)[..., ::-1]
    assert (int(row["phash"], 16) ^ int(phash(written), 16)).bit_count() <= 4
    assert float(row["sharpness"]) == pytest.approx(frames.sharpness(written), rel=0.1)
    assert "phone.mov: turned by 90 degrees" in "".join(capsys.readouterr())
    assert read_manifest(out)["counts"]["turned"] == {"phone.mov": 90}


def test_damage_in_the_middle_is_dropped_and_named(tmp_path):
    path = clip_of(tmp_path / "01/clips/a.mp4", moving(48))
    damage(path, 29)
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02")
    gone = dropped(out)
    # Up to the next key frame, 36.
    assert numbers(gone) == list(range(29, 36))
    assert {(row["reason"], row["thumbnail"]) for row in gone} == {("damaged", "")}
    assert numbers(table(out)) == [n for n in range(48) if n not in numbers(gone)]
    assert len(list((out / "images").iterdir())) == 41
    assert "short" not in read_manifest(out)["counts"]


def test_odd_sizes(tmp_path):
    import av

    path = tmp_path / "01/clips/a.mkv"
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 161, 119, "yuv420p"
        picture = scene(size=(161, 119))
        file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02")
    with Image.open(out / "images/a_00000.jpg") as image:
        assert image.size == (161, 119)


def test_photos_of_one_group_are_compared_too(tmp_path):
    source = tmp_path / "01"
    (source / "images").mkdir(parents=True)
    for i, seed in enumerate((0, 0, 1, 0)):
        Image.fromarray(scene(seed)).save(source / f"images/{i}.png")
    (source / "groups.csv").write_text("image,clip\n0.png,street\n1.png,street\n2.png,street\n")
    out = frames.extract_frames(source, tmp_path / "02", near_copies=0, min_sharpness=0.2)
    assert [row["image"] for row in table(out)] == ["0.png", "2.png", "3.png"]
    assert [row["detail"] for row in dropped(out)] == ["0 bits from 0.png"]
    assert (source / "images/1.png").exists()


def photos(folder, names):
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for i, name in enumerate(names):
        Image.fromarray(scene(i)).save(folder / "images" / name)
    return folder


def test_photos_get_the_clips_that_their_names_tell(tmp_path):
    names = [f"{v}.mp4#t={t}.jpg" for v in ("yard", "street") for t in ("0", "1.5")]
    names += ["IMG_1234.jpg", "IMG_1235.jpg"]
    source = photos(tmp_path / "01", names)
    out = frames.extract_frames(source, tmp_path / "02")
    clips = {row["image"]: row["clip"] for row in table(out)}
    assert [clips[name] for name in names] == [
        *("yard", "yard", "street", "street", "IMG_1234", "IMG_1235"),
    ]
    counts = read_manifest(out)["counts"]
    assert (counts["clips"], counts["clips_unknown"]) == (4, 2)
    assert "what 2 pictures belong to cannot be known" in counts["clip_rule"]
    (source / "groups.csv").write_text("image,clip\nimg_1234,walk\nIMG_1235.JPG,walk\n")
    out = frames.extract_frames(source, tmp_path / "02", clip_pattern="^(.)")
    clips = {row["image"]: row["clip"] for row in table(out)}
    assert [clips[name] for name in names] == ["y", "y", "s", "s", "walk", "walk"]
    assert read_manifest(out)["counts"]["clip_rule"].startswith("01/groups.csv; clip_pattern")
    (source / "groups.csv").write_text("image,clip\nIMG_9999.jpg,walk\n")
    with pytest.raises(CourseError, match=r"groups.csv: line 2: 'IMG_9999.jpg' is no picture"):
        frames.extract_frames(source, tmp_path / "02")


def test_numbered_pictures_are_one_clip_where_neighbours_look_alike(tmp_path):
    source = photos(tmp_path / "01", [f"photo_{i:02}.png" for i in range(20)])
    out = frames.extract_frames(source, tmp_path / "02")
    assert len({row["clip"] for row in table(out)}) == 20
    assert "neighbours no more alike than others" in read_manifest(out)["counts"]["clip_rule"]
    for i in range(20):
        Image.fromarray(np.roll(scene(), 4 * i, axis=1)).save(source / f"images/photo_{i:02}.png")
    out = frames.extract_frames(source, tmp_path / "02")
    assert len({row["clip"] for row in table(out)}) == 1


def test_what_only_looks_like_a_photo_is_named(tmp_path):
    source = photos(tmp_path / "01", ["a.jpg", "b.jpg", "turned.jpg"])
    os.mkfifo(source / "images/pipe.jpg")
    (source / "images/folder.jpg").mkdir()
    (source / "images/link.jpg").symlink_to("nowhere")
    (source / "images/loop.jpg").symlink_to("loop.jpg")
    (source / "images/none.jpg").write_bytes(b"")
    turned = Image.Exif()
    turned[0x0112] = 6
    whole = source / "images/turned.jpg"
    Image.fromarray(scene()).save(whole, exif=turned)
    whole.write_bytes(whole.read_bytes()[:-400])
    (source / "annotations/folder.xml").mkdir()
    (source / "annotations/._a.xml").write_bytes(b"\0")
    out = frames.extract_frames(source, tmp_path / "02")
    # What cannot be decoded comes along: lesson 03 names it, and leaves it out.
    assert [row["image"] for row in table(out)] == ["a.jpg", "b.jpg", "none.jpg", "turned.jpg"]
    assert {row[0] for row in remarks(out)} == {"folder.jpg", "link.jpg", "loop.jpg", "pipe.jpg"}
    assert {row[2] for row in remarks(out)} == {"unreadable image"}
    assert not list((out / "annotations").iterdir())


def test_pictures_a_pixel_wide(tmp_path):
    source = photos(tmp_path / "01", ["a.png"])
    for name in ("line_1.png", "line_2.png"):
        Image.new("RGB", (1, 3000)).save(source / "images" / name)
    out = frames.extract_frames(source, tmp_path / "02", near_copies=0, clip_pattern="^(line)")
    assert [row["reason"] for row in dropped(out)] == ["near-copy"]
    plots.contact_sheet(out)


def test_a_published_split_comes_along(tmp_path):
    source = photos(tmp_path / "01", ["a.jpg", "b.jpg"])
    (source / "split.csv").write_text("image,split\na.jpg,train\nb.jpg,val\n")
    out = frames.extract_frames(source, tmp_path / "02")
    assert (out / "split.csv").read_text() == (source / "split.csv").read_text()


def test_a_name_of_250_bytes(tmp_path):
    name = "ä" * 100 + "x" * 46
    make_clip(tmp_path / "own", count=2).rename(tmp_path / f"own/{name}.mp4")
    own.own_folder(tmp_path / "own", tmp_path / "01")
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02")
    assert len(table(out)) == 2


def test_the_contact_sheet_shows_kept_and_dropped(tmp_path, capsys, monkeypatch):
    import io

    import IPython.display

    pictures = [scene(0)] * 3 + [scene(1)] * 3
    pictures[1] = np.asarray(Image.fromarray(scene()).filter(ImageFilter.GaussianBlur(3)))
    path = clip_of(tmp_path / "01/clips/a.mp4", pictures + moving(18, seed=2))
    damage(path, 20)
    options = {"min_sharpness": 0.5, "near_copies": 0}
    out = frames.extract_frames(tmp_path / "01", tmp_path / "02", **options)
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda image: shown.append(image))
    capsys.readouterr()
    plots.contact_sheet(out)
    text = capsys.readouterr().out
    kept, gone = table(out), dropped(out)
    assert text.startswith(f"{len(kept)} frames kept, {len(gone)} dropped: 1 blurred, ")
    assert "4 damaged" in text
    with Image.open(io.BytesIO(shown[0].data)) as image:
        assert image.width > 800
    plots.contact_sheet(out, clip="a", most=4)
    assert "4 of them, spread evenly" in capsys.readouterr().out
    with pytest.raises(CourseError, match="clip 'b': not in it; its clips: a"):
        plots.contact_sheet(out, clip="b")
    with pytest.raises(CourseError, match=r"frames.csv: missing"):
        plots.contact_sheet(tmp_path / "01")
