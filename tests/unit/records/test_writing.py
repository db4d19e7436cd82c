"""Records are the old or the new ones, whatever happens while they are written."""

import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from sample_pictures import MAP, contents, encoded

from helpers.annotations.label_map import write_label_map
from helpers.common.artifacts import read_manifest, write_manifest
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.common.processes import child_environment
from helpers.dataset.assemble import write_dataset
from helpers.footage import frames
from helpers.records import shards, tfrecord
from helpers.records.__main__ import main
from helpers.records.verify import verify_records
from helpers.records.writing import write_records

pytest.importorskip("tensorflow")


def test_records_json_and_manifest_agree(dataset, tmp_path):
    out = write_records(dataset, tmp_path / "04_records", shards=2)
    names = sorted(path.name for path in out.glob("*.tfrecord"))
    assert names == [f"{s}-0000{i}-of-00002.tfrecord" for s in ("train", "val") for i in range(2)]
    counts = read_manifest(out)["counts"]
    assert counts["train"]["boxes"] == {"radar": 7, "car": 7}
    assert verify_records(out) == {
        "train": {"images": 7, "boxes": {"radar": 7, "car": 7}, "difficult": 7},
        "val": {"images": 3, "boxes": {"radar": 2, "car": 2}, "difficult": 2},
    }
    truth = json.loads((out / "val.json").read_text())
    assert truth["images"][0] == {
        "id": 8, "file_name": "frame7.jpg", "width": 100, "height": 80, "clip": "b"
    }  # fmt: skip
    assert truth["categories"] == [{"id": 1, "name": "radar"}, {"id": 2, "name": "car"}]
    assert truth["annotations"][1] == {
        "id": 2, "image_id": 8, "category_id": 2, "bbox": [50, 10.5, 50, 69.5],
        "area": 3475.0, "iscrowd": 1,
    }  # fmt: skip
    stored = {}
    for name in names:
        for item in tfrecord.read_examples(out / name):
            file = tfrecord.feature_values(item, "image/filename")[0].decode()
            stored[file] = tfrecord.feature_values(item, "image/encoded")[0]
    assert stored == {p.name: p.read_bytes() for p in (dataset / "images").iterdir()}


def test_a_test_side_is_written_where_there_is_one(dataset, three_sides, tmp_path):
    out = write_records(three_sides, tmp_path / "04_records", shards=1)
    assert sorted(path.name for path in out.glob("*.tfrecord")) == [
        f"{split}-00000-of-00001.tfrecord" for split in ("test", "train", "val")
    ]
    side = {"images": 2, "boxes": {"radar": 2, "car": 2}, "difficult": 2}
    assert verify_records(out) == {"train": side, "val": side, "test": side}
    truth = json.loads((out / "test.json").read_text())
    assert [image["file_name"] for image in truth["images"]] == ["2.jpg", "5.jpg"]
    listed = [row["split"] for row in read_csv(out / "examples.csv", ("split",))]
    assert listed == ["train", "train", "val", "val", "test", "test"]
    assert {"test.json", "test-00000-of-00001.tfrecord"} <= read_manifest(out)["counts"][
        "crc32c"
    ].keys()
    without = write_records(dataset, tmp_path / "without")
    assert not [*without.glob("test*")]
    assert "test" not in read_manifest(without)["counts"]


def test_a_test_side_is_verified_as_the_others(three_sides, tmp_path):
    out = write_records(three_sides, tmp_path / "04_records", shards=1)
    shutil.copyfile(out / "val-00000-of-00001.tfrecord", out / "test-00000-of-00001.tfrecord")
    with pytest.raises(CourseError, match=r"source_id \d is also that of val-"):
        verify_records(out)


def test_the_same_dataset_gives_the_same_bytes(dataset, tmp_path):
    first = write_records(dataset, tmp_path / "a", shards=3)
    second = write_records(dataset, tmp_path / "b", shards=3)
    assert contents(first) == contents(second)
    stated = read_manifest(second)["counts"]["crc32c"]
    assert stated == {name: tfrecord.crc32c(second / name) for name in contents(second)}


def test_records_are_written_once(dataset, tmp_path, capsys):
    write_records(dataset, tmp_path / "a")
    write_records(dataset, tmp_path / "a")
    assert "kept" in capsys.readouterr().out


def test_the_source_of_every_example(dataset, tmp_path):
    out = write_records(dataset, tmp_path / "a", shards=2)
    with (out / "examples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    for row in rows:
        item = list(tfrecord.read_examples(out / row["shard"]))[int(row["record"]) - 1]
        assert tfrecord.feature_text(item, "image/source_id") == row["source_id"]
        assert tfrecord.feature_text(item, "image/filename") == row["image"]
        data = (dataset / "images" / row["image"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()
        assert row["stored"] == "copied"


def test_what_was_not_copied_is_said(dataset, tmp_path, capsys):
    source = tmp_path / "03_dataset"
    shutil.copytree(dataset, source)
    exif = Image.Exif()
    exif[0x0112] = 3
    (source / "images/frame1.jpg").write_bytes(encoded(exif=exif))
    (source / "images/frame2.jpg").write_bytes(encoded("WEBP"))
    out = write_records(source, tmp_path / "a")
    assert "1 turned upright, 1 converted (examples.csv" in capsys.readouterr().out
    assert read_manifest(out)["counts"]["stored"] == {
        "copied": 8, "turned upright": 1, "converted": 1
    }  # fmt: skip
    verify_records(out)


def test_a_run_that_failed_resumes_by_shard(dataset, tmp_path):
    source, out = tmp_path / "03_dataset", tmp_path / "04_records"
    shutil.copytree(dataset, source)
    write_manifest(source, "a test", {}, {}, {})  # by which a folder is known, as in a lesson
    broken = source / "annotations/frame9.xml"
    whole = broken.read_text()
    broken.write_text(whole.replace("100", "ten", 1))
    with pytest.raises(CourseError, match=r"frame9.xml: size: .*width.* 'ten'"):
        write_records(source, out, shards=2)
    assert not out.exists()
    (draft,) = tmp_path.glob(".04_records.draft-*")
    kept = {path.name: path.stat().st_mtime_ns for path in draft.glob("train-*.tfrecord")}
    assert len(kept) == 2
    broken.write_text(whole)
    # What changed meanwhile must not survive in a file that was finished.
    changed = next(iter(tfrecord.read_examples(draft / sorted(kept)[1])))
    image = source / "images" / tfrecord.feature_text(changed, "image/filename")
    image.write_bytes(encoded(quality=30))
    write_records(source, out, shards=2)
    now = {path.name: path.stat().st_mtime_ns for path in out.glob("train-*.tfrecord")}
    assert [now[name] == kept[name] for name in sorted(kept)] == [True, False]
    assert contents(out) == contents(write_records(source, tmp_path / "new", shards=2))
    assert [path.name for path in tmp_path.glob(".*")] == []


KILLED = """
import signal, sys, time
from pathlib import Path
from helpers.records import examples, writing
# Of tests that run in the background, the shell makes SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
pause, storable = float(sys.argv[4]), examples._storable
def slowly(*args):
    time.sleep(pause)
    return storable(*args)
examples._storable = slowly
print("ready", flush=True)
writing.write_records(Path(sys.argv[1]), Path(sys.argv[2]), shards=int(sys.argv[3]))
"""


def start_writing(tmp_path, many, shards, pause=0.0, **options):
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, many, tmp_path / "04_records", str(shards), str(pause)],
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **options,
    )
    assert child.stdout.readline() == b"ready\n"
    return child


def test_killed_at_any_moment_the_records_are_the_old_or_the_new(many, tmp_path):
    new = contents(write_records(many, tmp_path / "new", shards=7))
    out = write_records(many, tmp_path / "04_records", shards=5)
    old, draw, ends = contents(out), random.Random(0), []
    child = start_writing(tmp_path, many, 7)
    began = time.monotonic()
    child.wait()
    whole = time.monotonic() - began
    assert contents(out) == new
    for moment in range(20):
        write_records(many, out, shards=5)
        child = start_writing(tmp_path, many, 7)
        time.sleep(draw.uniform(0, 1.1 * whole))
        child.kill()
        child.wait()
        ends.append(contents(out))
        assert ends[-1] in (old, new), moment
        if moment % 4 == 0:
            write_records(many, out, shards=7)  # in the draft that the killed run left
            assert contents(out) == new, moment
    assert old in ends  # or no run was killed in time, and nothing was tested


def test_nothing_lives_on_when_a_run_is_killed(many, tmp_path):
    write_records(many, tmp_path / "04_records", shards=5)
    old = contents(tmp_path / "04_records")
    child = start_writing(tmp_path, many, 150, pause=0.05, start_new_session=True)
    while not any(tmp_path.glob(".04_records.draft-*/[!.]*.json")):
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert contents(tmp_path / "04_records") == old
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    new = write_records(many, tmp_path / "04_records", shards=150)
    assert contents(new) == contents(write_records(many, tmp_path / "new", shards=150))


def test_ctrl_c_keeps_what_was_there_and_resumes(many, tmp_path):
    write_records(many, tmp_path / "04_records", shards=5)
    old = contents(tmp_path / "04_records")
    child = start_writing(tmp_path, many, 150, pause=0.05)
    while len(finished := [*tmp_path.glob(".04_records.draft-*/[!.]*.json")]) < 3:
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=10) not in (0, -signal.SIGKILL)
    assert contents(tmp_path / "04_records") == old
    written = [path.with_suffix("") for path in finished]  # their notes end in .json
    before = {path.name: path.stat().st_mtime_ns for path in written}
    new = write_records(many, tmp_path / "04_records", shards=150)
    assert all((new / name).stat().st_mtime_ns == before[name] for name in before)
    assert contents(new) == contents(write_records(many, tmp_path / "new", shards=150))


def test_no_more_files_than_images(dataset, tmp_path):
    out = write_records(dataset, tmp_path / "a", shards=50)
    assert len(list(out.glob("val-*"))) == 3
    with pytest.raises(CourseError, match="shards: 0"):
        write_records(dataset, tmp_path / "b", shards=0)


def test_a_fault_in_the_dataset_leaves_no_records(dataset, tmp_path):
    write_label_map(["radar"], dataset / "label_map.pbtxt")
    try:
        with pytest.raises(CourseError, match=r"frame\d.xml: object 2: label 'car'"):
            write_records(dataset, tmp_path / "a")
    finally:
        write_label_map(MAP, dataset / "label_map.pbtxt")
    assert not (tmp_path / "a").exists()


def test_from_footage_to_records(footage, tmp_path):
    taken = frames.extract_frames(footage, tmp_path / "02_frames", every=6)
    labels = ["speed_camera", "traffic_sign", "car"]
    data = write_dataset(taken, tmp_path / "03_dataset", labels=labels, val_ratio=0.34)
    found = verify_records(write_records(data, tmp_path / "04_records", shards=2))
    assert found["train"]["images"] + found["val"]["images"] == 15
    assert found["val"]["images"] == 5
    assert sum(found["train"]["boxes"].values()) > 0


def test_the_command_line(dataset, tmp_path, capsys):
    out = str(tmp_path / "04_records")
    assert main(["write", str(dataset), out, "--shards", "2"]) == 0
    assert "train: 7 images, 7 radar, 7 car" in capsys.readouterr().out
    assert main(["verify", out]) == 0
    assert "val: 3 images" in capsys.readouterr().out
    (tmp_path / "04_records/val-00000-of-00002.tfrecord").unlink()
    assert main(["verify", out]) == 1
    assert "missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("frame0.jpg,a,val", r"split.csv: frame0.jpg comes twice"),
        ("frame77.jpg,a,Train", r"split.csv: frame77.jpg: split 'Train'; write train or val"),
    ],
)
def test_a_split_that_says_nonsense(dataset, tmp_path, line, says):
    source = tmp_path / "03_dataset"
    shutil.copytree(dataset, source)
    with (source / "split.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CourseError, match=says):
        write_records(source, tmp_path / "a")


def test_a_fault_is_told_before_the_rest_is_written(many, tmp_path, monkeypatch):
    source = tmp_path / "03_dataset"
    shutil.copytree(many, source)
    rows = read_csv(source / "split.csv", ("image", "clip", "split"))
    faulty = shards.plan(rows, 2)[0].rows[20][1]
    (source / "images" / faulty).write_bytes(b"no image")
    seen, make_example = [], shards.make_example
    monkeypatch.setattr(shards, "make_example", lambda *a: (seen.append(a), make_example(*a))[1])
    with pytest.raises(CourseError, match=f"{faulty}: not a readable image"):
        write_records(source, tmp_path / "a", shards=2)
    assert len(seen) == 21
