import dataclasses
import io
import shutil
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from helpers import annotations, datasets, split
from helpers.annotations import Annotation, Box
from helpers.datasets import Dataset
from helpers.errors import CourseError


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A dataset of four images in the mirror's layout, known under the name "toy"."""
    place = tmp_path / "mirror/datasets/toy"
    (place / "images").mkdir(parents=True)
    (place / "annotations").mkdir()
    for i in range(4):
        Image.new("RGB", (32, 24), (60 * i, 0, 0)).save(place / f"images/frame{i}.jpg")
        annotation = Annotation(f"frame{i}.jpg", 32, 24, (Box("radar", 1, 1, 20, 20),))
        annotations.write_voc(annotation, place / f"annotations/frame{i}.xml")
    (place / "train.txt").write_text("frame0.jpg\nframe2.jpg\n")
    (place / "test.txt").write_text("frame3.jpg\n")
    (place / "images/unused.jpg").write_bytes(b"belongs to something else")
    dataset = Dataset(
        name="toy",
        description="",
        source="http://127.0.0.1:9/nobody/toy",
        commit="abc",
        licence="MIT",
        classes=("radar",),
        digest="",
        archive={
            "images": ("data/frames", "data/more"),
            "annotations": ("data/xml",),
            "train.txt": ("data/train.txt",),
            "test.txt": ("data/test.txt",),
        },
        author_split=("train.txt", "test.txt"),
        clips={"a": (0, 1), "b": (2, 3)},
    )
    same = {name: (name,) for name in dataset.archive}
    value = datasets.digest(datasets._files_used(dataset, place, same, ""))
    monkeypatch.setitem(datasets.DATASETS, "toy", dataclasses.replace(dataset, digest=value))
    monkeypatch.setenv("COURSE_MIRROR", str(tmp_path / "mirror"))
    return place


def pack(place, names):
    """A zip file at `place` of name -> bytes."""
    with zipfile.ZipFile(place, "w") as bundle:
        for name, data in names.items():
            bundle.writestr(name, data)


def pack_folder(folder, place, prefix=""):
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    pack(place, {f"{prefix}{name}": path.read_bytes() for name, path in files.items()})


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serves tmp_path/web on localhost; the address is its value."""
    (tmp_path / "web").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=str(tmp_path / "web"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def check(folder):
    assert sorted(p.name for p in (folder / "images").iterdir()) == [
        f"frame{i}.jpg" for i in range(4)
    ]
    assert len(annotations.read_folder(folder / "annotations")) == 4
    groups = split.read_csv(folder / "groups.csv", ("image", "clip"))
    assert [row["clip"] for row in groups] == ["a", "a", "b", "b"]
    assert split.author(folder / "author_split.csv") == {
        "frame0.jpg": "train",
        "frame2.jpg": "train",
        "frame3.jpg": "val",
    }
    sources = split.read_csv(folder / "sources.csv", ("file", "licence", "origin"))
    assert sources[0]["licence"] == "MIT"


def test_from_a_folder_as_mirror(toy, tmp_path):
    out = datasets.fetch("toy", tmp_path / "01_images")
    check(out)
    # What the learner changes must not reach the mirror.
    (out / "annotations/frame0.xml").write_text("changed")
    check(datasets.fetch("toy", tmp_path / "again"))


def test_from_a_zip_on_the_mirror_with_and_without_a_top_folder(toy, tmp_path):
    for prefix in ("", "toy/"):
        pack_folder(toy, toy.with_name("toy.zip"), prefix)
        shutil.move(toy, tmp_path / "away")
        check(datasets.fetch("toy", tmp_path / f"out{len(prefix)}"))
        shutil.move(tmp_path / "away", toy)


def test_from_a_mirror_on_the_web(toy, serve, tmp_path, monkeypatch):
    (tmp_path / "web/datasets").mkdir()
    pack_folder(toy, tmp_path / "web/datasets/toy.zip")
    monkeypatch.setenv("COURSE_MIRROR", serve)
    check(datasets.fetch("toy", tmp_path / "01_images"))


@pytest.mark.parametrize("mirror", ["none", "folder", "web"])
def test_from_the_public_archive_when_the_mirror_lacks_it(
    toy, serve, tmp_path, monkeypatch, mirror
):
    public = tmp_path / "archive/data"
    (public / "frames").mkdir(parents=True)
    (public / "more").mkdir()
    shutil.copytree(toy / "annotations", public / "xml")
    for i in range(4):
        shutil.copy(toy / f"images/frame{i}.jpg", public / ("frames" if i < 2 else "more"))
    # The first of two folders wins where both have the file.
    (public / "more/frame0.jpg").write_bytes(b"another version")
    for name in ("train.txt", "test.txt"):
        shutil.copy(toy / name, public / name)
    (tmp_path / "web/toy/archive").mkdir(parents=True)
    pack_folder(tmp_path / "archive", tmp_path / "web/toy/archive/abc.zip", "toy-abc/")
    known = dataclasses.replace(datasets.DATASETS["toy"], source=f"{serve}/toy")
    monkeypatch.setitem(datasets.DATASETS, "toy", known)
    (tmp_path / "empty").mkdir()
    value = {"none": "", "folder": str(tmp_path / "empty"), "web": serve}[mirror]
    monkeypatch.setenv("COURSE_MIRROR", value)
    check(datasets.fetch("toy", tmp_path / "01_images"))


def test_a_changed_or_missing_file_is_noticed(toy, tmp_path):
    path = toy / "images/frame2.jpg"
    good = path.read_bytes()
    for damage in (lambda: path.write_bytes(good[:-1] + b"x"), path.unlink):
        damage()
        with pytest.raises(CourseError, match=r"toy: \d+ files with digest .* expected"):
            datasets.fetch("toy", tmp_path / "01_images")
        path.write_bytes(good)
    (toy / "train.txt").unlink()
    with pytest.raises(CourseError, match=r"train.txt: missing"):
        datasets.fetch("toy", tmp_path / "01_images")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mirror"]


def test_what_cannot_be_fetched_is_said_in_one_line(toy, tmp_path, monkeypatch):
    with pytest.raises(CourseError, match="'radars'; choose one of speedtraps, raccoon, bccd"):
        datasets.fetch("radars", tmp_path / "a")
    monkeypatch.setenv("COURSE_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(CourseError, match=r"COURSE_MIRROR: .*no such folder"):
        datasets.fetch("toy", tmp_path / "a")
    monkeypatch.setenv("COURSE_MIRROR", "")
    with pytest.raises(CourseError, match=r"download failed .* set COURSE_MIRROR") as error:
        datasets.fetch("toy", tmp_path / "a")
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mirror"]


def linked(name, target):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        bundle.writestr(info, target)
    return buffer.getvalue()


def test_unsafe_archives_are_not_unpacked(tmp_path):
    path, out = tmp_path / "bad.zip", tmp_path / "out"
    for name in ("../escape.txt", "/absolute.txt", "a/../../escape.txt", "c:/escape.txt"):
        pack(path, {"good.txt": b"", name: b"x"})
        with pytest.raises(CourseError, match=r"bad.zip: .*not unpacked"):
            datasets.unpack(path, out)
    path.write_bytes(linked("images", "/etc"))
    with pytest.raises(CourseError, match="a link"):
        datasets.unpack(path, out)
    assert not out.exists()


def test_archives_that_are_too_large_or_broken(tmp_path, monkeypatch):
    path, out = tmp_path / "bad.zip", tmp_path / "out"
    pack(path, {f"{i}.txt": b"x" * 100 for i in range(5)})
    monkeypatch.setattr(datasets, "_MAX_UNPACKED", 400)
    with pytest.raises(CourseError, match="too large"):
        datasets.unpack(path, out)
    monkeypatch.undo()
    monkeypatch.setattr(datasets, "_MAX_FILES", 4)
    with pytest.raises(CourseError, match="too large"):
        datasets.unpack(path, out)
    monkeypatch.undo()
    data = bytearray(path.read_bytes())
    data[data.index(b"xxxx")] = ord("y")
    path.write_bytes(data)
    with pytest.raises(CourseError, match="broken zip"):
        datasets.unpack(path, out)
    path.write_bytes(b"no zip")
    with pytest.raises(CourseError, match="broken zip"):
        datasets.unpack(path, out)


def test_the_table_is_complete():
    assert datasets.names() == ["speedtraps", "raccoon", "bccd"]
    for name in datasets.names():
        known = datasets.get(name)
        assert len(known.digest) == 64
        assert len(known.commit) == 40
        assert known.url.endswith(f"/archive/{known.commit}.zip")
        assert {known.images, known.annotations, *(known.author_split or ())} == set(known.archive)
        assert set(known.held_out) <= set(known.clips or ())


@pytest.mark.parametrize(
    ("name", "images", "boxes"),
    [("speedtraps", 491, 389), ("raccoon", 200, 217), ("bccd", 364, 4888)],
)
def test_the_real_sets_are_those_the_course_was_made_with(
    shared, tmp_path, monkeypatch, name, images, boxes
):
    monkeypatch.setenv("COURSE_MIRROR", str(shared))
    out = datasets.fetch(name, tmp_path / "01_images")
    assert len(annotations.images_in(out / "images")) == images
    found = annotations.read_folder(out / "annotations")
    assert sum(len(a.boxes) for a in found) == boxes
    assert {box.label for a in found for box in a.boxes} == set(datasets.get(name).classes)


def test_speedtraps_knows_its_clips_and_its_author(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_MIRROR", str(shared))
    out = datasets.fetch("speedtraps", tmp_path / "01_images")
    clips = {r["image"]: r["clip"] for r in split.read_csv(out / "groups.csv", ("image", "clip"))}
    assert set(clips.values()) == set(datasets.get("speedtraps").clips)
    assert clips["frame245.jpg"] == "sunny_187"
    assert clips["frame348.jpg"] == "overcast_a"
    assert clips["frame349.jpg"] == "overcast_b"
    sides = list(split.author(out / "author_split.csv").values())
    assert (sides.count("train"), sides.count("val")) == (312, 79)
