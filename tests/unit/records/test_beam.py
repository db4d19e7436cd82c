"""Records from Beam, which lives in .venv-beam: here it is run, and its files are looked at."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from sample_pictures import BOXES, MAP, contents, encoded

from helpers.annotations import voc
from helpers.annotations.boxes import Annotation
from helpers.annotations.folders import SPLITS
from helpers.annotations.label_map import write_label_map
from helpers.common.artifacts import read_manifest, write_manifest
from helpers.common.files import ROOT, write_csv
from helpers.records.verify import verify_records
from helpers.records.writing import write_records

PYTHON = ROOT / ".venv-beam/bin/python"
PROCESSES = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")


def is_set_up() -> bool:
    ready, lock = ROOT / ".venv-beam/ready", (ROOT / "requirements-beam.txt").read_text()
    return ready.exists() and ready.read_text() == re.sub(r" *#.*", "", lock)


needs_beam = pytest.mark.skipif(not is_set_up(), reason="Beam is not set up: make beam")


@pytest.fixture
def dataset(tmp_path) -> Path:
    """A 03_dataset of twelve images, with names that are patterns to Beam: a PNG, one turned
    by EXIF, a WEBP that must be converted, one that shows nothing, one with the name of an
    archive."""
    folder = tmp_path / "a[1]*" / "03_dataset"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = {f"frame[{i}]*.jpg": encoded(quality=50 + i) for i in range(7)}
    pictures |= {
        "png.png": encoded("PNG"),
        "turned.jpg": encoded(exif=exif),
        "web.webp": encoded("WEBP"),
        "nothing.jpg": encoded(),
        "odd.gz.jpg": encoded(),
    }
    rows = []
    for i, (name, data) in enumerate(pictures.items()):
        (folder / "images" / name).write_bytes(data)
        size = (80, 100) if name == "turned.jpg" else (100, 80)
        boxes = {"nothing.jpg": (), "turned.jpg": BOXES[:1]}.get(name, BOXES)
        stem = os.path.splitext(name)[0]
        voc.write_voc(Annotation(name, *size, boxes), folder / f"annotations/{stem}.xml")
        rows.append({"image": name, "clip": str(i), "split": SPLITS[i % 4 == 3]})
    write_csv(folder / "split.csv", ("image", "clip", "split"), rows)
    write_label_map(MAP, folder / "label_map.pbtxt")
    write_manifest(folder, "a test", {}, {}, {})
    return folder


def beam(*arguments, script="", **environment) -> subprocess.CompletedProcess:
    """Run the command, or a script in its place that ends in `main()`, with Beam's Python."""
    command = ["-c", script] if script else ["-m", "helpers.beam_records"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests/unit")])
    return subprocess.run(
        [PYTHON, *command, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def hidden(folder):
    return [path.name for path in folder.rglob(".*")]


@needs_beam
@pytest.mark.parametrize(("shards", "options"), [(1, ()), (3, ()), (3, PROCESSES)])
def test_the_bytes_are_those_of_the_local_writer(dataset, tmp_path, shards, options):
    out, local = tmp_path / "b[2]*" / "04_records", tmp_path / "local"
    done = beam(dataset, out, "--shards", shards, *options)
    assert done.returncode == 0, done.stderr
    assert "val: 3 images" in done.stdout
    write_records(dataset, local, shards=shards)
    assert contents(out) == contents(local)
    found, expected = read_manifest(out), read_manifest(local)
    assert found["versions"].pop("apache-beam")
    assert {**found, "versions": 0} == {**expected, "versions": 0}
    assert expected["counts"]["stored"] == {"copied": 10, "turned upright": 1, "converted": 1}
    assert hidden(out.parent) == []


@needs_beam
def test_lessons_take_the_folder_for_their_own(dataset, tmp_path, capsys):
    pytest.importorskip("tensorflow")
    out = tmp_path / "04_records"
    first = beam(dataset, out, "--shards", 2)
    assert "1 turned upright, 1 converted" in first.stdout
    assert verify_records(out)["train"]["images"] == 9
    write_records(dataset, out, shards=2)
    assert "kept" in capsys.readouterr().out
    assert "kept" in beam(dataset, out, "--shards", 2).stdout
    command = [sys.executable, "-m", "helpers.records", "write", dataset, out, "--shards", "2"]
    assert "kept" in subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


@needs_beam
def test_other_records_take_the_place_of_the_old(dataset, tmp_path):
    out = tmp_path / "04_records"
    write_records(dataset, out, shards=3)
    assert beam(dataset, out, "--shards", 1).returncode == 0
    assert contents(out) == contents(write_records(dataset, tmp_path / "new", shards=1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    done = beam(dataset, tmp_path / "mine")
    assert (done.returncode, done.stdout) == (1, "")
    assert "holds files that the course did not make" in done.stderr


def break_xml(dataset):
    path = dataset / "annotations/png.xml"
    path.write_text(path.read_text().replace("100", "ten", 1))


def drop_image(dataset):
    (dataset / "images/png.png").unlink()


def drop_xml(dataset):
    (dataset / "annotations/png.xml").unlink()


def spoil_image(dataset):
    (dataset / "images/png.png").write_bytes(b"no image")


@needs_beam
@pytest.mark.parametrize(
    ("spoil", "options", "says"),
    [
        (break_xml, (), "annotations/png.xml: size: <width> 'ten'"),
        (break_xml, PROCESSES, "annotations/png.xml: size: <width> 'ten'"),
        (drop_image, (), "images/png.png: missing"),
        (drop_xml, (), "annotations/png.xml: missing"),
        (spoil_image, (), "png.png: not a readable image"),
    ],
)
def test_a_fault_in_the_data_is_one_line(dataset, tmp_path, spoil, options, says):
    spoil(dataset)
    out = tmp_path / "04_records"
    done = beam(dataset, out, "--shards", 3, *options)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert says in lines[-1]
    assert "Traceback" not in done.stderr
    assert len(lines) == 1 or options  # each process of Beam greets with a line
    assert not out.exists()
    assert hidden(tmp_path) == []


@needs_beam
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--shards", "0"), "shards: 0"),
        (("--direct_num_wrokers", "2"), "--direct_num_wrokers: neither"),
        (("--runner", "NoRunner"), "the pipeline failed"),
    ],
)
def test_a_wrong_option_is_one_line(dataset, tmp_path, arguments, says):
    done = beam(dataset, tmp_path / "out", *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@needs_beam
def test_an_unknown_filesystem_is_one_line(dataset, tmp_path):
    done = beam(dataset, "moon://bucket/04_records")
    assert done.returncode == 1
    assert done.stderr == (
        "moon://bucket/04_records: Beam has no filesystem for it here; install its extra, as "
        "requirements-beam.in says\n"
    )
    done = beam(tmp_path / "nothing", tmp_path / "out")
    assert "nothing/label_map.pbtxt: missing" in done.stderr


AGAIN = """
import os, sys
from helpers.records import beam

once = beam.write_one


def again(line, dataset, part, label_map):
    before = os.listdir(part)
    once(line, dataset, part, label_map)
    for name in set(os.listdir(part)) - set(before):
        if name.endswith(".tfrecord.json"):
            os.remove(part + "/" + name)  # the worker was lost just then
    once(line, dataset, part, label_map)
    once(line, dataset, part, label_map)


beam.write_one = again
sys.exit(beam.main())
"""


@needs_beam
def test_a_shard_that_is_written_again_does_no_harm(dataset, tmp_path):
    out = tmp_path / "04_records"
    done = beam(dataset, out, "--shards", 2, script=AGAIN)
    assert done.returncode == 0, done.stderr
    assert contents(out) == contents(write_records(dataset, tmp_path / "local", shards=2))


SLOW = """
import sys, time
from helpers.records import beam

write = beam.write_shard


def slowly(shard, dataset, folder, *rest, **options):
    open(folder + "/started", "w")
    time.sleep(3)
    return write(shard, dataset, folder, *rest, **options)


beam.write_shard = slowly
sys.exit(beam.main())
"""


@needs_beam
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_stopped_it_leaves_the_old_records(dataset, tmp_path, kill):
    out = write_records(dataset, tmp_path / "04_records", shards=3)
    old = contents(out)
    child = subprocess.Popen(
        [PYTHON, "-c", SLOW, dataset, out, "--shards", "1"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".04_records.draft-*/.part-*/started")):
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(kill)
    said = child.communicate(timeout=60)[1]
    assert contents(out) == old
    if kill == signal.SIGINT:
        assert child.returncode == 130
        assert said.splitlines()[-1].startswith("beam_records: stopped")
        assert hidden(tmp_path) == []
    assert beam(dataset, out, "--shards", 1).returncode == 0
    assert hidden(tmp_path) == []


FAR = "import logging, sys\nlogging.disable(30)\nimport far\nlogging.disable(0)\n"
FAR += "from helpers.records import beam\nsys.exit(beam.main())"


@pytest.fixture
def store(tmp_path, dataset):
    """A far:// store that holds the dataset; returns run(folder, *options), names(folder)."""
    place = tmp_path / "store"
    place.mkdir()

    def at(path):
        return place / re.sub("[^A-Za-z0-9_.~-]", lambda found: f"%{ord(found[0]):02X}", path)

    for path in dataset.rglob("*"):
        if path.is_file():
            shutil.copy(path, at(f"far://b/03_dataset/{path.relative_to(dataset)}"))

    def run(folder, *options, of="far://b/03_dataset"):
        plugin = ("--beam_plugin", "far.FarFileSystem")
        return beam(of, folder, *plugin, *options, script=FAR, FAR=str(place))

    return run, at, place


@needs_beam
@pytest.mark.parametrize("options", [(), PROCESSES])
def test_records_on_an_object_store(dataset, tmp_path, store, options):
    run, at, place = store
    local = write_records(dataset, tmp_path / "local", shards=3)
    done = run("far://b/x[1]/04_records/", "--shards", 3, *options)
    assert done.returncode == 0, done.stderr
    expected = {at(f"far://b/x[1]/04_records/{p.name}").name: p for p in local.iterdir()}
    written = {p.name: p for p in place.iterdir() if "04_records" in p.name}
    assert written.keys() == expected.keys()  # nothing is left of the run
    for name, path in expected.items():
        if path.name != "manifest.json":
            assert written[name].read_bytes() == path.read_bytes(), path.name
    manifest = written[at("far://b/x[1]/04_records/manifest.json").name]
    assert read_manifest(local)["fingerprint"] in manifest.read_text()

    again = run("far://b/x[1]/04_records", "--shards", 3)
    assert "kept" in again.stdout
    other = run("far://b/x[1]/04_records", "--shards", 2)
    assert (other.returncode, len(other.stderr.splitlines())) == (1, 1)
    assert "holds examples.csv of other records" in other.stderr
    manifest.unlink()
    assert run("far://b/x[1]/04_records", "--shards", 3).returncode == 1
    # From there to a disk.
    assert run(tmp_path / "near", "--shards", 3).returncode == 0
    assert contents(tmp_path / "near") == contents(local)


@needs_beam
def test_what_is_missing_on_an_object_store_is_one_line(store):
    run, at, place = store
    at("far://b/03_dataset/images/png.png").unlink()
    done = run("far://b/04_records")
    assert done.returncode == 1
    assert done.stderr == (
        "far://b/03_dataset/images/png.png: missing, and split.csv lists it; delete the folder of "
        "lesson 03, run it again\n"
    )
    assert [p.name for p in place.iterdir() if "04_records" in p.name] == []
    at("far://b/03_dataset/manifest.json").unlink()
    assert "copy the whole folder" in run("far://b/04_records").stderr
    assert "far://b/no/label_map.pbtxt: missing" in run("far://b/o", of="far://b/no").stderr


def test_without_beam_it_says_how_to_get_it(tmp_path):
    """In the course's environment, which has none."""
    if subprocess.run([sys.executable, "-c", "import apache_beam"], capture_output=True).returncode:
        done = subprocess.run(
            [sys.executable, "-m", "helpers.beam_records", tmp_path, tmp_path / "out"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "make beam" in done.stderr


def test_its_imports_are_those_of_beams_environment():
    """Which has neither TensorFlow nor OpenCV: also where Beam is not set up."""
    absent = "tensorflow", "cv2", "pandas", "matplotlib", "tqdm"
    script = f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
    script += "import helpers.records.beam, helpers.annotations.voc"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
