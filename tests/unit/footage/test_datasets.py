import dataclasses
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from http.server import ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from PIL import Image
from serving import Answers

from helpers.annotations import voc
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.folders import images_in
from helpers.annotations.pairing import read_folder
from helpers.common import downloads
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.footage import datasets, mirror
from helpers.footage.datasets import Dataset


def sides(folder):
    rows = read_csv(folder / "split.csv", ("image", "split"))
    return {row["image"]: row["split"] for row in rows}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A dataset of four images in the mirror's layout, known under the name "toy"."""
    place = tmp_path / "mirror/datasets/toy"
    (place / "images").mkdir(parents=True)
    (place / "annotations").mkdir()
    for i in range(4):
        Image.new("RGB", (32, 24), (60 * i, 0, 0)).save(place / f"images/frame{i}.jpg")
        annotation = Annotation(f"frame{i}.jpg", 32, 24, (Box("radar", 1, 1, 20, 20),))
        voc.write_voc(annotation, place / f"annotations/frame{i}.xml")
    (place / "train.txt").write_text("frame0.jpg\nframe2.jpg\n")
    (place / "test.txt").write_text("frame3.jpg\n")
    (tmp_path / "mirror/checksums").mkdir()
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(place).as_posix()}\n"
        for path in sorted(place.rglob("*.*"))
    ]
    (tmp_path / "mirror/checksums/toy.sha256").write_text("".join(lines))
    monkeypatch.setattr(datasets, "CHECKSUMS", tmp_path / "mirror/checksums")
    (place / "images/unused.jpg").write_bytes(b"belongs to something else")
    dataset = Dataset(
        name="toy",
        description="",
        source="http://127.0.0.1:9/nobody/toy",
        version="abc",
        addresses=("http://127.0.0.1:9/nobody/toy.zip",),
        licence="MIT",
        megabytes=1,
        classes=("radar",),
        archive={
            "images": ("data/frames", "data/more"),
            "annotations": ("data/xml",),
            "train.txt": ("data/train.txt",),
            "test.txt": ("data/test.txt",),
        },
        author_split=("train.txt", "test.txt"),
        clips={"a": (0, 1), "b": (2, 3)},
    )
    know(monkeypatch, dataset)
    monkeypatch.setenv("COURSE_MIRROR", str(tmp_path / "mirror"))
    return place


def know(monkeypatch, dataset=None, **changes):
    """Make `dataset`, or the toy with `changes`, the one dataset that is known."""
    dataset = dataclasses.replace(dataset or datasets.find_dataset("toy"), **changes)
    monkeypatch.setattr(datasets, "DATASETS", {"toy": dataset})


def pack(place, names):
    """A zip file at `place` of name -> bytes."""
    with zipfile.ZipFile(place, "w") as bundle:
        for name, data in names.items():
            bundle.writestr(name, data)


def pack_folder(folder, place, prefix=""):
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    pack(place, {f"{prefix}{name}": path.read_bytes() for name, path in files.items()})


class Host(Answers):
    """Serves `state.files`; resumes in the middle of a file, and breaks off, as it is told to."""

    def do_GET(self):
        state, span = self.server.state, self.headers.get("Range")
        state.asked.append((self.path, span))
        if state.refuse:
            status, headers = state.refuse.pop(0)
            return self.answer(b"", status, headers)
        data = state.files.get(self.path)
        if data is None:
            return self.answer(b"gone", 404, {})
        begin = int(re.fullmatch(r"bytes=(\d+)-", span)[1]) if span and state.ranges else 0
        if begin >= len(data):
            return self.answer(b"", 416, {"Content-Range": f"bytes */{len(data)}"})
        sent = data[begin:]
        span = f"bytes {begin + state.shift}-{len(data) - 1}/{len(data)}"
        status, headers = (206, {"Content-Range": span}) if begin else (200, {})
        if state.breaks:
            state.breaks -= 1
            headers["Content-Length"] = str(len(sent))
            sent = sent[: state.piece]
        self.answer(sent, status, headers)

    def answer(self, body, status, headers):
        if self.server.state.chunked and status == 200:
            return self.answer_in_chunks(body)
        super().answer(body, status, headers)


@pytest.fixture
def host(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    address = f"http://127.0.0.1:{server.server_port}"
    server.state = SimpleNamespace(
        address=address,
        files={},
        asked=[],
        refuse=[],
        ranges=True,
        shift=0,
        breaks=0,
        piece=0,
        chunked=False,
    )
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.state
    server.shutdown()
    server.server_close()


@pytest.fixture
def public(toy, host, tmp_path, monkeypatch):
    """The toy at its public address only: the host that serves it."""
    inside = tmp_path / "inside/data"
    (inside / "frames").mkdir(parents=True)
    (inside / "more").mkdir()
    shutil.copytree(toy / "annotations", inside / "xml")
    for i in range(4):
        shutil.copy(toy / f"images/frame{i}.jpg", inside / ("frames" if i < 2 else "more"))
    # The first of two folders wins where both have the file.
    (inside / "more/frame0.jpg").write_bytes(b"another version")
    for name in ("train.txt", "test.txt"):
        shutil.copy(toy / name, inside / name)
    pack_folder(tmp_path / "inside", tmp_path / "public.zip", "toy-abc/")
    host.files["/toy.zip"] = (tmp_path / "public.zip").read_bytes()
    host.piece = len(host.files["/toy.zip"]) // 3
    for leftover in (tmp_path / "inside", tmp_path / "mirror/datasets"):
        shutil.rmtree(leftover)
    (tmp_path / "public.zip").unlink()
    know(monkeypatch, addresses=(f"{host.address}/toy.zip",))
    monkeypatch.setenv("COURSE_MIRROR", "")
    return host


@pytest.fixture
def naps(monkeypatch):
    """The pauses that were made, without making them."""
    made = []
    monkeypatch.setattr(downloads.time, "sleep", made.append)
    return made


def check(folder):
    assert sorted(p.name for p in (folder / "images").iterdir()) == [
        f"frame{i}.jpg" for i in range(4)
    ]
    assert len(read_folder(folder / "annotations")) == 4
    groups = read_csv(folder / "groups.csv", ("image", "clip"))
    assert [row["clip"] for row in groups] == ["a", "a", "b", "b"]
    assert sides(folder) == {
        "frame0.jpg": "train",
        "frame2.jpg": "train",
        "frame3.jpg": "val",
    }
    sources = read_csv(folder / "sources.csv", ("file", "licence", "origin"))
    assert sources[0]["licence"] == "MIT"


def test_from_a_folder_as_mirror(toy, tmp_path):
    out = datasets.fetch_dataset("toy", tmp_path / "01_images")
    check(out)
    # What the learner changes must not reach the mirror.
    (out / "annotations/frame0.xml").write_text("changed")
    check(datasets.fetch_dataset("toy", tmp_path / "again"))


def test_from_a_zip_on_the_mirror_with_and_without_a_top_folder(toy, tmp_path):
    for prefix in ("", "toy/"):
        pack_folder(toy, toy.with_name("toy.zip"), prefix)
        shutil.move(toy, tmp_path / "away")
        check(datasets.fetch_dataset("toy", tmp_path / f"out{len(prefix)}"))
        shutil.move(tmp_path / "away", toy)


def test_from_a_mirror_on_the_web(toy, host, tmp_path, monkeypatch):
    pack_folder(toy, tmp_path / "toy.zip")
    host.files["/class/datasets/toy.zip"] = (tmp_path / "toy.zip").read_bytes()
    monkeypatch.setenv("COURSE_MIRROR", f"{host.address}/class/")
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))


@pytest.mark.parametrize("mirror", ["none", "folder", "web"])
def test_from_the_public_archive_when_the_mirror_lacks_it(public, tmp_path, monkeypatch, mirror):
    (tmp_path / "empty").mkdir()
    value = {"none": "", "folder": str(tmp_path / "empty"), "web": public.address}[mirror]
    monkeypatch.setenv("COURSE_MIRROR", value)
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))


def test_a_changed_or_missing_file_is_named(toy, tmp_path):
    path = toy / "images/frame2.jpg"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"x")
    with pytest.raises(CourseError, match=r"toy: images/frame2.jpg is changed; get the dataset"):
        datasets.fetch_dataset("toy", tmp_path / "01_images")
    path.unlink()
    (toy / "train.txt").unlink()
    message = r"toy: images/frame2.jpg is missing, and 1 more; get the dataset again"
    with pytest.raises(CourseError, match=message):
        datasets.fetch_dataset("toy", tmp_path / "01_images")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mirror"]


def test_what_cannot_be_fetched_is_said_in_one_line(toy, tmp_path, monkeypatch, naps):
    with pytest.raises(CourseError, match="'radars'; choose one of toy, or roadside"):
        datasets.fetch_dataset("radars", tmp_path / "a")
    monkeypatch.setenv("COURSE_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(CourseError, match=r"COURSE_MIRROR: .*no such folder"):
        datasets.fetch_dataset("toy", tmp_path / "a")
    monkeypatch.setenv("COURSE_MIRROR", "")
    with pytest.raises(CourseError, match=r"download failed .* set COURSE_MIRROR") as error:
        datasets.fetch_dataset("toy", tmp_path / "a")
    assert "\n" not in str(error.value)
    assert naps == [2, 4, 8]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mirror"]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(public, tmp_path, naps):
    public.breaks = 2
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))
    piece = public.piece
    assert [span for _, span in public.asked] == [None, f"bytes={piece}-", f"bytes={2 * piece}-"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01_images", "mirror"]


def test_many_breaks_are_borne_as_long_as_something_comes(public, tmp_path, naps):
    public.piece, public.breaks = 200, 12
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))
    assert len(public.asked) == 13
    assert set(naps) == {2}


def test_the_next_call_goes_on_too(public, tmp_path, monkeypatch):
    public.breaks, files = 1, dict(public.files)
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: public.files.clear())
    with pytest.raises(CourseError, match=r"status 404, 0.0 MB are kept"):
        datasets.fetch_dataset("toy", tmp_path / "01_images")
    assert not (tmp_path / "01_images").exists()
    public.files.update(files)
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))
    assert public.asked[-1] == ("/toy.zip", f"bytes={public.piece}-")


def test_ctrl_c_while_unpacking_keeps_the_download(public, tmp_path, monkeypatch):
    unpack = datasets.unpack

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "unpack", stopped)
    with pytest.raises(KeyboardInterrupt):
        datasets.fetch_dataset("toy", tmp_path / "01_images")
    monkeypatch.setattr(datasets, "unpack", unpack)
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))
    size = len(public.files["/toy.zip"])
    assert public.asked[-1] == ("/toy.zip", f"bytes={size}-"), "only asked whether there is more"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01_images", "mirror"]


def test_what_a_killed_fetch_leaves_is_gone_after_the_next(public, tmp_path):
    code = (
        "import os, sys; from helpers.footage import datasets; from pathlib import Path\n"
        "datasets.unpack = lambda archive, place, name: (place.mkdir(), os._exit(9))\n"
        "datasets.DATASETS = {'toy': datasets.Dataset(**eval(sys.argv[2]))}\n"
        "datasets.fetch_dataset('toy', Path(sys.argv[1]))\n"
    )
    toy = dataclasses.asdict(datasets.find_dataset("toy"))
    command = [sys.executable, "-c", code, str(tmp_path / "01_images"), repr(toy)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 9
    assert any(tmp_path.rglob(".fetch-*"))
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))
    assert not any(tmp_path.rglob(".fetch-*"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01_images", "mirror"]


def test_a_bad_archive_is_not_kept(public, tmp_path):
    good = public.files["/toy.zip"]
    public.files["/toy.zip"] = b"no zip"
    with pytest.raises(CourseError, match="broken archive"):
        datasets.fetch_dataset("toy", tmp_path / "01_images")
    public.files["/toy.zip"] = good
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))


def test_an_archive_of_unsaid_length(public, tmp_path):
    public.chunked = True
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))


@pytest.mark.parametrize("fault", ["no ranges", "wrong range", "part too long"])
def test_hosts_that_cannot_go_on_are_asked_for_all(public, tmp_path, naps, fault):
    public.breaks = 1
    public.ranges = fault != "no ranges"
    public.shift = 1 if fault == "wrong range" else 0
    if fault == "part too long":
        key = hashlib.sha256(f"{public.address}/toy.zip".encode()).hexdigest()[:8]
        (tmp_path / f".toy-{key}.part").write_bytes(public.files["/toy.zip"] + b"more")
        public.breaks = 0
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))


def test_a_part_that_is_whole_is_not_fetched_again(public, tmp_path):
    key = hashlib.sha256(f"{public.address}/toy.zip".encode()).hexdigest()[:8]
    (tmp_path / f".toy-{key}.part").write_bytes(public.files["/toy.zip"])
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))
    assert len(public.asked) == 1


def test_hosts_that_ask_to_wait(public, tmp_path, naps):
    public.refuse = [(429, {"Retry-After": "9"}), (503, {})]
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))
    assert naps == [9, 4]
    public.refuse = [(429, {"Retry-After": "4000"})]
    with pytest.raises(CourseError, match="status 429"):
        datasets.fetch_dataset("toy", tmp_path / "again")
    assert naps == [9, 4]


def test_a_login_page_instead_of_an_archive(public, tmp_path):
    good = public.files["/toy.zip"]
    public.files["/toy.zip"] = b"<html>log in to the hotel's network</html>"
    with pytest.raises(CourseError, match=r"toy.zip: broken archive .*; get it again"):
        datasets.fetch_dataset("toy", tmp_path / "01_images")
    public.files["/toy.zip"] = good
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))


def test_a_file_without_end_is_not_taken(public, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "LARGEST", 500)
    with pytest.raises(CourseError, match="larger than any file of the course"):
        datasets.fetch_dataset("toy", tmp_path / "01_images")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mirror"]


@pytest.fixture
def tar(toy, host, tmp_path, monkeypatch):
    """The toy as VOC 2007 is: a tar known by its checksum, lists without suffixes."""
    (toy / "train.txt").write_text("frame0\nframe2\n")
    (toy / "test.txt").write_text("frame3\n")
    with tarfile.open(tmp_path / "devkit.tar", "w") as bundle:
        bundle.add(toy, "VOCdevkit/VOC2007")
    host.files["/devkit.tar"] = data = (tmp_path / "devkit.tar").read_bytes()
    for leftover in (tmp_path / "devkit.tar", tmp_path / "mirror/checksums/toy.sha256"):
        leftover.unlink()
    shutil.rmtree(toy)
    know(
        monkeypatch,
        sha256=hashlib.sha256(data).hexdigest(),
        archive={
            "images": ("VOC2007/images",),
            "annotations": ("VOC2007/annotations",),
            "train.txt": ("VOC2007/train.txt",),
            "test.txt": ("VOC2007/test.txt",),
        },
        addresses=(f"{host.address}/gone.tar", f"{host.address}/devkit.tar"),
    )
    return host


def test_an_archive_known_by_its_checksum(tar, tmp_path, monkeypatch):
    check(datasets.fetch_dataset("toy", tmp_path / "01_images"))
    assert [path for path, _ in tar.asked] == ["/gone.tar", "/devkit.tar"]
    data = tar.files["/devkit.tar"]
    stick = tmp_path / "mirror/datasets/toy.tar"
    stick.write_bytes(data)
    tar.files.clear()
    check(datasets.fetch_dataset("toy", tmp_path / "again"))
    stick.write_bytes(data[:-1] + b"x")
    with pytest.raises(CourseError, match=r"toy.tar: toy: SHA-256 .* is cut off or changed"):
        datasets.fetch_dataset("toy", tmp_path / "third")
    stick.unlink()
    tar.files["/devkit.tar"] = data[:-1] + b"x"
    with pytest.raises(CourseError, match=r"devkit.tar: toy: SHA-256 .* is cut off or changed"):
        datasets.fetch_dataset("toy", tmp_path / "third")


def test_a_mirror_is_filled_and_serves_the_course(public, tmp_path, monkeypatch, capsys):
    stick = tmp_path / "stick"
    (path,) = mirror.fill_mirror(stick)
    assert path == stick / "datasets/toy.zip"
    assert "toy: 0 MB; MIT" in capsys.readouterr().out
    public.files["/served/datasets/toy.zip"] = path.read_bytes()
    del public.files["/toy.zip"]
    for number, address in enumerate((str(stick), f"{public.address}/served")):
        monkeypatch.setenv("COURSE_MIRROR", address)
        check(datasets.fetch_dataset("toy", tmp_path / f"out{number}"))
    assert sorted(p.name for p in (stick / "datasets").iterdir()) == ["toy.zip"]


def test_what_a_mirror_has_is_left_and_what_is_broken_replaced(public, tmp_path, capsys):
    stick = tmp_path / "stick"
    (path,) = mirror.fill_mirror(stick)
    made = path.stat().st_mtime_ns
    assert mirror.main(["mirror", str(stick)]) == 0
    assert path.stat().st_mtime_ns == made
    assert "toy: there already" in capsys.readouterr().out
    assert len(public.asked) == 1
    good = path.read_bytes()
    for bad in (good[: len(good) // 2], good.replace(b"frame2.jpg", b"frame9.jpg"), b""):
        path.write_bytes(bad)
        mirror.fill_mirror(stick)
        assert mirror.is_whole(datasets.find_dataset("toy"), path)


def test_a_mirror_is_filled_from_another_mirror_or_in_place(toy, tmp_path, monkeypatch, naps):
    (path,) = mirror.fill_mirror(tmp_path / "stick", ["toy"])
    assert path.is_file()
    # The folder itself is no source: nothing better would come of a broken copy.
    with pytest.raises(CourseError, match="download failed"):
        mirror.fill_mirror(tmp_path / "mirror")
    assert (toy / "train.txt").is_file()


def test_a_tar_in_the_mirror(tar, tmp_path, monkeypatch):
    (path,) = mirror.fill_mirror(tmp_path / "stick")
    assert path.read_bytes() == tar.files["/devkit.tar"]
    asked = len(tar.asked)
    mirror.fill_mirror(tmp_path / "stick")
    assert len(tar.asked) == asked
    monkeypatch.setenv("COURSE_MIRROR", str(tmp_path / "stick"))
    mirror.fill_mirror(tmp_path / "second stick")
    assert len(tar.asked) == asked


def test_one_set_that_fails_does_not_stop_the_mirror(public, tmp_path, monkeypatch, naps, capsys):
    lost = dataclasses.replace(
        datasets.find_dataset("toy"), name="lost", addresses=(f"{public.address}/lost.zip",)
    )
    monkeypatch.setitem(datasets.DATASETS, "lost", lost)
    monkeypatch.setattr(datasets, "DATASETS", dict(sorted(datasets.DATASETS.items())))
    assert mirror.main(["mirror", str(tmp_path / "stick")]) == 1
    assert "lost.zip: download failed (status 404)" in capsys.readouterr().err
    assert (tmp_path / "stick/datasets/toy.zip").is_file()
    assert mirror.main(["mirror", ""]) == 1
    assert "make mirror MIRROR=" in capsys.readouterr().err
    assert mirror.main(["mirror", str(tmp_path / "new"), "radars"]) == 1
    assert not (tmp_path / "new").exists()
    assert mirror.main([]) == 2


def test_the_table_is_complete():
    assert datasets.dataset_names() == ["speedtraps", "raccoon", "bccd", "voc2007"]
    for name in datasets.dataset_names():
        known = datasets.find_dataset(name)
        assert known.addresses
        assert all(address.startswith("https://") for address in known.addresses)
        assert known.licence
        lists = {name.split("/")[0] for name in known.author_split}
        assert {known.images, known.annotations, *lists} == set(known.archive)
        assert set(known.held_out) <= set(known.clips or ())
        assert len(known.classes) == len(set(known.classes)) > 0
        if known.sha256:
            assert re.fullmatch("[0-9a-f]{64}", known.sha256)
            continue
        assert known.addresses[0].endswith(f"/archive/{known.version}.zip")
        table = datasets.checksums(known)
        assert {file.split("/")[0] for file in table} == set(known.archive)
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in table.values())


@pytest.mark.parametrize(
    ("name", "images", "boxes"),
    [("speedtraps", 491, 389), ("raccoon", 200, 217), ("bccd", 364, 4888)],
)
def test_the_real_sets_are_those_the_course_was_made_with(
    shared, tmp_path, monkeypatch, name, images, boxes
):
    monkeypatch.setenv("COURSE_MIRROR", str(shared))
    out = datasets.fetch_dataset(name, tmp_path / "01_images")
    known, table = datasets.find_dataset(name), datasets.checksums(datasets.find_dataset(name))
    used = sum((shared / "datasets" / name / file).stat().st_size for file in table)
    assert known.megabytes == round(used / 1e6)
    assert len(images_in(out / "images")) == images
    found = read_folder(out / "annotations")
    assert sum(len(a.boxes) for a in found) == boxes
    assert {box.label for a in found for box in a.boxes} == set(datasets.find_dataset(name).classes)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("speedtraps", {"train": 312, "val": 79}),
        ("raccoon", {"train": 160, "val": 40}),
        ("bccd", {"train": 205, "val": 87, "test": 72}),
    ],
)
def test_the_sides_of_the_authors(shared, tmp_path, monkeypatch, name, counts):
    monkeypatch.setenv("COURSE_MIRROR", str(shared))
    out = datasets.fetch_dataset(name, tmp_path / "01_images")
    assert Counter(sides(out).values()) == counts
    assert set(sides(out)) <= {path.name for path in images_in(out / "images")}


def test_speedtraps_knows_its_clips(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_MIRROR", str(shared))
    out = datasets.fetch_dataset("speedtraps", tmp_path / "01_images")
    clips = {r["image"]: r["clip"] for r in read_csv(out / "groups.csv", ("image", "clip"))}
    assert set(clips.values()) == set(datasets.find_dataset("speedtraps").clips)
    assert clips["frame245.jpg"] == "sunny_187"
    assert clips["frame348.jpg"] == "overcast_a"
    assert clips["frame349.jpg"] == "overcast_b"
