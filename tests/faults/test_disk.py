"""A disk that is full, cannot be written, or does not take the name: one line, nothing lost.

The disks are real ones: a few kilobytes of memory, mounted in a namespace of their own.
"""

import re
import shutil
import subprocess
import sys
import textwrap
from functools import partial

import pytest

from helpers.annotations.boxes import Annotation
from helpers.annotations.label_map import write_label_map
from helpers.annotations.voc import write_voc
from helpers.annotations.writing import write_annotations
from helpers.common.files import ROOT, write_csv, write_json
from helpers.dataset.assemble import write_dataset
from helpers.footage.frames import extract_frames
from helpers.footage.own import own_folder
from helpers.records.writing import write_records
from tests.faults.conftest import photos, refusal

MOUNTS = ["unshare", "--user", "--map-root-user", "--mount"]
needs_mounts = pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.run([*MOUNTS, "true"], capture_output=True, check=False).returncode != 0,
    reason="mounting a small disk needs Linux with user namespaces",
)

PREAMBLE = """
from pathlib import Path
from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.writing import write_annotations
from helpers.annotations.label_map import write_label_map
from helpers.annotations.voc import write_voc
from helpers.common.errors import CourseError
from helpers.common.files import write_csv, write_json
from helpers.dataset.assemble import write_dataset
from helpers.footage.frames import extract_frames
from helpers.footage.own import own_folder
from helpers.footage.roadside.scene import render_roadside
from helpers.records.writing import write_records
course, disk = Path({course!r}), Path({disk!r})
many = [Annotation(f"{{i}}.jpg", 99, 99, (Box("cat", 1, 2, 30, 40),) * 300) for i in range(9)]
"""

WRITERS = {
    "own_folder": "own_folder(course / 'own', disk / '01_images')",
    "extract_frames": "extract_frames(course / '01_images', disk / '02_frames')",
    "write_dataset": "write_dataset(course / '02_frames', disk / '03_dataset', split='frame')",
    "write_records": "write_records(course / '03_dataset', disk / '04_records', shards=1)",
    "render": "render_roadside(disk / 'clips', clips=1, seconds=0.1)",
    "voc": "write_annotations(many, disk / 'voc', 'voc')",
    "coco": "write_annotations(many, disk / 'a.json', 'coco')",
    "yolo": "write_annotations(many, disk / 'yolo', 'yolo')",
    "csv": "write_annotations(many, disk / 'a.csv', 'vott_csv')",
    "label map": "write_label_map([str(i) * 40 for i in range(500)], disk / 'map.pbtxt')",
    "table": "write_csv(disk / 't.csv', ('a',), ({'a': i} for i in range(9999)))",
    "json": "write_json(disk / 't.json', list(range(9999)))",
}


def on_a_disk(tmp_path, course, options, code, fill=""):
    """Run `code` where `disk` is a small disk of its own; what it printed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = PREAMBLE.format(course=str(course), disk=str(disk)) + textwrap.dedent(code)
    (tmp_path / "script.py").write_text(script)
    shell = f'mount -t tmpfs -o size=16k none "$0" && {fill or ":"} && '
    shell += f'{{ mount -o remount,{options},size=16k "$0"; exec "$1" "$2"; }}'
    done = subprocess.run(
        [*MOUNTS, "sh", "-c", shell, str(disk), sys.executable, str(tmp_path / "script.py")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_mounts
@pytest.mark.parametrize(("options", "reason"), [("rw", "full"), ("ro", "read-only")])
def test_a_full_or_read_only_disk_is_one_line_for_every_writer(tmp_path, course, options, reason):
    attempts = "".join(f"attempt({name!r}, {call!r})\n" for name, call in WRITERS.items())
    code = """
    def attempt(name, call):
        try:
            eval(call)
        except CourseError as error:
            print(name, "|", str(error).replace(chr(10), " LINE BREAK "))
        except Exception as error:
            print(name, "| RAISED", type(error).__name__, error)
        else:
            print(name, "| WRITTEN")
    """
    code = textwrap.dedent(code) + attempts
    # Filled to the last page, but for the read-only one.
    fill = 'head -c 16k /dev/zero > "$0/full" 2>/dev/null; true' if options == "rw" else ""
    said = on_a_disk(tmp_path, course, options, code, fill)
    lines = [line for line in said.splitlines() if " | " in line]
    assert {line.split(" | ")[0] for line in lines} == set(WRITERS)
    for line in lines:
        assert reason in line, line
        assert "RAISED" not in line, line
        assert "LINE BREAK" not in line, line


@needs_mounts
def test_what_a_full_disk_interrupts_leaves_the_good_file_as_it_was(tmp_path, course):
    code = """
    one = Annotation("a.jpg", 99, 99, (Box("cat", 1, 2, 30, 40),))
    write_voc(one, disk / "a.xml")
    write_label_map(["cat"], disk / "map.pbtxt")
    write_json(disk / "a.json", {"a": 1})
    before = {p.name: p.read_bytes() for p in disk.iterdir()}
    calls = [
        lambda: write_voc(many[0], disk / "a.xml"),
        lambda: write_label_map([str(i) * 40 for i in range(500)], disk / "map.pbtxt"),
        lambda: write_json(disk / "a.json", list(range(9999))),
    ]
    for call in calls:
        try:
            call()
        except CourseError as error:
            assert "full" in str(error), error
        else:
            raise SystemExit("the disk was not full")
    assert {p.name: p.read_bytes() for p in disk.iterdir()} == before
    print("unchanged")
    """
    assert "unchanged" in on_a_disk(tmp_path, course, "rw", code)


def test_a_name_that_is_too_long_or_leads_through_a_file_is_one_line(tmp_path, course):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / ("n" * 300), tmp_path / "file" / "below"):
        for make in (
            lambda to: own_folder(course / "own", to),
            lambda to: extract_frames(course / "01_images", to),
            lambda to: write_dataset(course / "02_frames", to, split="frame"),
            lambda to: write_records(course / "03_dataset", to, shards=1),
            lambda to: write_annotations(photos(tmp_path / "p"), to, "voc"),
            lambda to: write_voc(Annotation("a.jpg", 9, 9), to / "a.xml"),
            lambda to: write_label_map(["cat"], to / "map.pbtxt"),
            lambda to: write_csv(to / "a.csv", ("a",), []),
            lambda to: write_json(to / "a.json", []),
        ):
            assert re.search(r"too long|is a file", refusal(partial(make, folder)))


@pytest.mark.parametrize("workspace", ["/proc/none", "x" * 300, "FILE/below"])
def test_a_workspace_that_cannot_be_ends_the_command_with_one_line(tmp_path, workspace):
    (tmp_path / "file").write_text("")
    workspace = workspace.replace("FILE", str(tmp_path / "file"))
    command = [sys.executable, "-m", "helpers.course", "run", "--workspace", workspace]
    done = subprocess.run(
        [*command, "--only", "01", "--profile", "smoke"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("CourseError: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
