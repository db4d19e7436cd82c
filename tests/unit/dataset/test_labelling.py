"""Labelling: the order of the queue, the widget driven through its messages, the files it saves."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.folders import images_in
from helpers.annotations.pairing import merged, pair, read_folder
from helpers.annotations.voc import read_voc, write_voc
from helpers.common.errors import CourseError
from helpers.common.images import ImageSize, image_size
from helpers.dataset import audit, labelling
from helpers.dataset.findings import kinds

WIDTH, HEIGHT = 64, 48
LABELS = ["camera", "sign"]


def picture(path: Path, size=(WIDTH, HEIGHT), orientation=1) -> None:
    image = Image.new("RGB", size, (90, 120, 150))
    exif = image.getexif()
    if orientation != 1:
        exif[0x0112] = orientation
    image.save(path, exif=exif)


@pytest.fixture
def frames(tmp_path) -> Path:
    """Four frames; a2 has two boxes, a10 one, a1 and b 1 none."""
    folder = tmp_path / "ws" / "02_frames"
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    for stem in ("a1", "a2", "a10", "b 1"):
        picture(folder / "images" / f"{stem}.jpg")
    annotate(
        folder,
        "a2",
        Box("camera", 1.25, 2.1, 20.33, 30.7, difficult=True),
        Box("sign", *[9] * 2, 14, 19),
    )
    annotate(folder, "a10", Box("camera", 5, 6, 15, 16, truncated=True, occluded=True))
    return folder


def annotate(folder: Path, stem: str, *boxes: Box, size=(WIDTH, HEIGHT)) -> None:
    path = folder / "annotations" / f"{stem}.xml"
    write_voc(Annotation(f"{stem}.jpg", *size, boxes), path, check=False)


class Page:
    """The widget as a browser sees it: what it shows, and the messages that keys send."""

    def __init__(self, frames: Path, labels=LABELS, **options):
        self.out = frames.parent / "labels"
        folders = frames / "images", frames / "annotations", self.out
        self.box = labelling.labelling_widget(*folders, labels, **options)
        self.head, self.canvas, self.note, _ = self.box.children

    @property
    def frame(self) -> str:
        return self.canvas.frame

    def press(self, kind: str, boxes=None, frame=None) -> None:
        shown = [dict(box) for box in self.canvas.bboxes]
        content = {"frame": frame or self.frame, "bboxes": shown if boxes is None else boxes}
        # As it comes from the browser: JSON, with the widget's own state left as it is.
        message = json.loads(json.dumps({"type": kind, **content}))
        self.canvas._handle_custom_msg(message, [])

    def saved(self, stem: str) -> tuple[Box, ...]:
        return read_voc(self.out / f"{stem}.xml").boxes


def drawn(x, y, width, height, label="camera") -> dict:
    return {"x": x, "y": y, "width": width, "height": height, "label": label}


# --- the queue


def test_queue_asks_first_for_what_needs_a_look_most(frames, tmp_path):
    paths = images_in(frames / "images")
    annotations = pair([path.name for path in paths], read_folder(frames / "annotations"))
    assert labelling.queue(paths, annotations) == ["a1.jpg", "b 1.jpg", "a2.jpg", "a10.jpg"]
    found = audit.Finding("a10.xml", 1, "large", "v", "e", "f")
    order = labelling.queue(paths, annotations, findings=[found])
    assert order == ["a10.jpg", "a1.jpg", "b 1.jpg", "a2.jpg"]
    (tmp_path / "done").mkdir()
    for stem in ("a1", "a10"):
        (tmp_path / "done" / f"{stem}.xml").touch()
    order = labelling.queue(paths, annotations, findings=[found], out_folder=tmp_path / "done")
    assert order == ["b 1.jpg", "a2.jpg", "a1.jpg", "a10.jpg"]


def test_queue_passes_over_findings_that_no_drawing_settles(frames):
    paths = images_in(frames / "images")
    annotations = pair([path.name for path in paths], read_folder(frames / "annotations"))
    findings = [
        audit.Finding("a10.jpg", 0, "near copy", "v", "e", "f"),
        audit.Finding("all files", 0, "class imbalance", "v", "e", "f"),
        audit.Finding("b 1.jpg", 0, "no annotation", "v", "e", "f"),
    ]
    assert labelling.queue(paths, annotations, findings=findings)[0] == "a1.jpg"


def test_the_kinds_that_are_passed_over_are_kinds_of_the_audit():
    assert set(labelling.NOT_DRAWN) <= set(kinds())


def test_queue_starts_with_what_the_audit_finds(frames):
    annotate(frames, "a10", Box("camera", 50, 6, 70, 16))
    annotations = read_folder(frames / "annotations")
    findings = audit.find_faults(frames / "images", annotations)
    page = Page(frames, findings=findings)
    assert page.frame == "a10.jpg"
    assert "object 1: outside: xmax 70 is beyond the image&#x27;s width 64" in page.note.value


# --- saving


def test_submit_saves_at_once_and_goes_on(frames):
    page = Page(frames)
    assert "<b>1 of 4</b> · a1.jpg · 0 saved" in page.head.value
    page.press("submit", [drawn(3, 4, 10, 12), drawn(20, 8, 7, 9, "sign")])
    assert page.saved("a1") == (Box("camera", 3, 4, 13, 16), Box("sign", 20, 8, 27, 17))
    assert "<b>2 of 4</b> · b 1.jpg · 1 saved" in page.head.value
    assert page.canvas.bboxes == []
    written = read_voc(page.out / "a1.xml")
    assert (written.image, written.width, written.height) == ("a1.jpg", WIDTH, HEIGHT)


def test_an_empty_frame_is_saved_as_nothing_here(frames):
    page = Page(frames)
    page.press("submit")
    assert page.saved("a1") == ()


def test_unchanged_boxes_come_back_exactly_and_flags_stay_with_the_object(frames):
    page = Page(frames)
    page.press("skip")
    page.press("skip")
    assert page.frame == "a2.jpg"
    camera, sign = page.canvas.bboxes
    page.press("submit", [{**sign, "x": 10, "label": "camera"}, camera])
    moved = Box("camera", 10, 9, 15, 19)
    assert page.saved("a2") == (moved, Box("camera", 1.25, 2.1, 20.33, 30.7, difficult=True))
    (camera,) = page.canvas.bboxes
    page.press("submit", [{**camera, "width": 20}, drawn(1, 1, 9, 9)])
    larger = Box("camera", 5, 6, 25, 16, truncated=True, occluded=True)
    assert page.saved("a10") == (larger, Box("camera", 1, 1, 10, 10))


def test_boxes_are_clipped_to_the_image(frames):
    page = Page(frames)
    page.press("submit", [drawn(-5, -6, 20, 20), drawn(50, 40, 90, 90), drawn(70, 5, 9, 9)])
    assert page.saved("a1") == (Box("camera", 0, 0, 15, 14), Box("camera", 50, 40, 64, 48))
    assert "a1.jpg: 1 without area in the image left out" in page.note.value


def test_a_box_that_was_deleted_again_does_not_come_back(frames):
    page = Page(frames)
    given = page.canvas.bboxes
    page.press("skip", [*given, drawn(5, 5, 9, 9)])
    page.press("back")
    assert len(page.canvas.bboxes) == len(given) + 1
    page.press("skip", given)
    page.press("back")
    assert page.canvas.bboxes == given


def test_a_click_without_a_drag_is_no_box(frames):
    page = Page(frames)
    page.press("submit", [drawn(5, 5, 0, 0), drawn(5, 5, 0, 0)])
    assert page.saved("a1") == ()
    assert page.note.value == ""


def test_faulty_boxes_are_shown_so_that_they_can_be_mended(frames):
    boxes = (
        Box("camera", 30, 5, 10, 25),  # inverted
        Box("camera", 40, 5, 80, 25),  # outside in part
        Box("camera", 7, 7, 7, 9),  # without area
        Box("camera", 100, 5, 120, 25),  # outside
    )
    annotate(frames, "a10", *boxes)
    findings = [audit.Finding("a10.xml", 1, "inverted", "xmax <b>", "e", "swap them")]
    page = Page(frames, findings=findings)
    shown = [(box["x"], box["width"]) for box in page.canvas.bboxes]
    assert shown == [(10, 20), (40, 24)]
    assert "object 3 (camera) has no area in the image" in page.note.value
    assert "object 4 (camera) has no area in the image" in page.note.value
    assert "object 1: inverted: xmax &lt;b&gt;; swap them" in page.note.value
    page.press("submit")
    assert page.saved("a10") == (Box("camera", 10, 5, 30, 25), Box("camera", 40, 5, 64, 25))


def test_a_label_that_is_none_of_the_classes_is_refused(frames):
    page = Page(frames)
    page.press("submit", [drawn(5, 5, 9, 9, "")])
    assert "Not saved." in page.note.value
    assert "box 1: label" in page.note.value
    assert page.frame == "a1.jpg"
    assert list(page.out.iterdir()) == []


def test_labels_of_the_annotations_are_offered_kept_and_named(frames):
    annotate(frames, "a10", Box("Camera", 5, 6, 15, 16))
    page = Page(frames, ["sign", "gantry"])
    assert page.canvas.classes == ["sign", "gantry", "Camera", "camera"]
    for _ in range(3):
        page.press("skip")
    assert "also boxed, and kept: &#x27;Camera&#x27;" in page.note.value
    page.press("submit")
    assert page.saved("a10")[0].label == "Camera"


# --- going to and fro, and on another day


def test_back_shows_what_was_saved_and_skip_keeps_what_was_drawn(frames):
    page = Page(frames)
    page.press("submit", [drawn(3, 4, 10, 12)])
    page.press("skip", [drawn(1, 1, 5, 5)])
    assert page.frame == "a2.jpg"
    assert not (page.out / "b 1.xml").exists()
    page.press("back")
    assert page.frame == "b 1.jpg"
    assert page.canvas.bboxes == [drawn(1, 1, 5, 5)]
    page.press("back")
    assert "a1.jpg (saved)" in page.head.value
    assert [{**box, "object": 0} for box in page.canvas.bboxes] == [
        drawn(3, 4, 10, 12) | {"object": 0}
    ]
    page.press("back")
    assert page.note.value == "This is the first one."
    page.press("submit", [])
    assert page.saved("a1") == ()
    page.press("submit")
    assert page.saved("b 1") == (Box("camera", 1, 1, 6, 6),)


def test_a_second_session_goes_on_where_the_first_stopped(frames):
    first = Page(frames)
    first.press("submit", [drawn(3, 4, 10, 12)])
    first.press("skip")
    first.press("submit")
    second = Page(frames)
    assert second.frame == "b 1.jpg"
    assert "<b>3 of 4</b>" in second.head.value
    assert "2 saved" in second.head.value
    second.press("submit")
    second.press("submit")
    assert "This was the last one; all are saved." in second.note.value
    assert "<b>4 of 4</b>" in second.head.value
    third = Page(frames)
    assert "All are saved" in third.note.value
    third.press("back")
    assert third.frame == "a10.jpg"


def test_the_end_says_what_was_skipped(frames):
    page = Page(frames)
    for kind in ("skip", "submit", "submit", "submit"):
        page.press(kind)
    assert "This was the last one; 1 skipped: run this cell again for them." in page.note.value


def test_enter_twice_saves_one_frame_and_a_late_skip_moves_nothing(frames):
    page = Page(frames)
    page.press("submit", [drawn(3, 4, 10, 12)])
    page.press("submit", [drawn(3, 4, 10, 12), drawn(1, 1, 5, 5)], frame="a1.jpg")
    page.press("skip", [drawn(3, 4, 10, 12)], frame="a1.jpg")
    assert len(page.saved("a1")) == 2, "what was drawn on the frame meanwhile belongs to it"
    assert page.frame == "b 1.jpg"
    assert page.canvas.bboxes == []
    assert sorted(path.name for path in page.out.iterdir()) == ["a1.xml"]


def test_boxes_frame_and_picture_go_to_the_browser_in_one_message(frames, monkeypatch):
    page = Page(frames)
    sent = []
    monkeypatch.setattr(page.canvas, "send_state", lambda key: sent.append(set(key)))
    page.press("submit")  # an empty frame, and the next is empty too
    assert len(sent) == 1
    assert {"bboxes", "frame"} <= sent[0]
    assert page.canvas.trait_metadata("bboxes", "echo_update") is False


# --- what can go wrong on the disk


def test_a_kill_between_two_saves_leaves_whole_files(frames):
    script = """
import os, signal, sys
from pathlib import Path
from helpers.dataset import labelling
from helpers.annotations import write_voc

frames = Path(sys.argv[1])
folders = frames / "images", frames / "annotations", frames.parent / "labels"
box = labelling.labelling_widget(*folders, ["camera"])
canvas = box.children[1]
def press():
    item = {"x": 3, "y": 4, "width": 10, "height": 12, "label": "camera"}
    canvas._handle_custom_msg({"type": "submit", "frame": canvas.frame, "bboxes": [item]}, [])
press()
def half(annotation, path):
    write_voc(annotation, path)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
labelling.write_voc = half
press()
"""
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", script, str(frames)], env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == -signal.SIGKILL
    out = frames.parent / "labels"
    assert [annotation.image for annotation in read_folder(out)] == ["a1.jpg"]
    page = Page(frames)
    assert page.frame == "b 1.jpg"
    page.press("submit")
    assert sorted(path.name for path in out.iterdir()) == ["a1.xml", "b 1.xml"]


def test_a_file_that_cannot_be_written_is_said_and_the_boxes_stay(frames):
    page = Page(frames)
    (page.out / "a1.xml").mkdir()
    (page.out / "a1.xml" / "x").touch()
    page.press("submit", [drawn(3, 4, 10, 12)])
    assert "Not saved." in page.note.value
    assert "a1.xml: cannot be written" in page.note.value
    assert page.frame == "a1.jpg"
    assert [path.name for path in page.out.iterdir()] == ["a1.xml"], "a part was left"
    shutil.rmtree(page.out / "a1.xml")
    page.press("submit", [drawn(3, 4, 10, 12)])
    assert page.saved("a1") == (Box("camera", 3, 4, 13, 16),)


def test_a_folder_that_cannot_be_written_is_refused_at_once(frames):
    (frames.parent / "labels").write_text("a file")
    with pytest.raises(CourseError, match="labels: cannot be written"):
        Page(frames)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_at_once(frames):
    (frames.parent / "labels").mkdir(mode=0o500)
    with pytest.raises(CourseError, match="labels: cannot be written"):
        Page(frames)


def test_a_folder_that_a_lesson_makes_again_is_refused(frames):
    (frames / "manifest.json").write_text("{}")
    folders = frames / "images", frames / "annotations", frames / "mine" / "labels"
    with pytest.raises(CourseError, match="lies in 02_frames, which a lesson makes again"):
        labelling.labelling_widget(*folders, LABELS)
    assert not (frames / "mine").exists()


def test_a_picture_that_is_none_is_said_and_never_saved(frames):
    (frames / "images" / "a1.jpg").write_bytes(b"no picture")
    page = Page(frames)
    assert "a1.jpg: no image" in page.note.value
    assert page.canvas.view_only
    page.press("submit", [drawn(3, 4, 10, 12)])
    assert list(page.out.iterdir()) == []
    page.press("skip")
    assert not page.canvas.view_only


def test_a_broken_file_of_an_earlier_session_is_named_and_not_the_end(frames):
    (frames.parent / "labels").mkdir()
    (frames.parent / "labels" / "a1.xml").write_text("<annotation>")
    page = Page(frames)
    page.press("back")
    assert page.frame == "a1.jpg"
    assert "a1.xml: broken XML" in page.note.value


def test_boxes_of_a_picture_that_was_resized_since_are_shown_and_saved_scaled(frames):
    annotate(frames, "a2", Box("camera", 10, 20, 40, 60), size=(2 * WIDTH, 2 * HEIGHT))
    (frames / "annotations/a1.xml").write_text("<annotation>")
    page = Page(frames)
    while page.frame != "a2.jpg":
        page.press("skip")
    page.press("submit")
    assert page.saved("a2") == (Box("camera", 5, 10, 20, 30),)


@pytest.mark.parametrize("labels", [[], "camera", ["camera", " "], ["camera", "camera"], [1]])
def test_labels_that_are_none_are_refused(frames, labels):
    with pytest.raises(CourseError, match="labels: "):
        Page(frames, labels)


# --- the picture


def test_the_picture_is_sent_as_it_is_on_the_disk(frames):
    page = Page(frames)
    assert page.canvas.image_bytes == (frames / "images" / "a1.jpg").read_bytes()
    assert page.canvas.image == page.canvas.image_url == "", "a path of this machine was sent"


def test_a_full_hd_box_far_out_is_exact(frames):
    picture(frames / "images" / "a1.jpg", (1920, 1080))
    page = Page(frames)
    page.press("submit", [drawn(1887, 1003, 33, 77)])
    assert page.saved("a1") == (Box("camera", 1887, 1003, 1920, 1080),)


def test_a_tagged_picture_is_shown_as_its_boxes_were_drawn(frames):
    """A browser turns by the tag: upright for new boxes, as stored where the XML says so."""
    for stem in ("a1", "a10"):
        picture(frames / "images" / f"{stem}.jpg", (WIDTH, HEIGHT), orientation=6)
    findings = [audit.Finding("a10.jpg", 0, "rotated by EXIF", "v", "e", "f")]
    page = Page(frames, findings=findings)
    with Image.open(frames / "images" / "a10.jpg") as image:
        assert image.getexif()[0x0112] == 6
    shown = frames.parent / "shown.jpg"
    shown.write_bytes(page.canvas.image_bytes)
    assert image_size(shown) == ImageSize(WIDTH, HEIGHT, 1)
    page.press("submit")
    page.press("submit", [drawn(2, 50, 40, 14)])
    sizes = [(a.image, a.width, a.height) for a in read_folder(page.out)]
    assert sizes == [("a1.jpg", HEIGHT, WIDTH), ("a10.jpg", WIDTH, HEIGHT)]
    assert page.saved("a1") == (Box("camera", 2, 50, 42, 64),)
    found = audit.find_faults(frames / "images", read_folder(page.out), only={"a1.jpg", "a10.jpg"})
    assert not [f for f in found if f.kind in ("outside", "wrong size")]


# --- merged


def test_boxes_drawn_by_hand_win(frames):
    given = read_folder(frames / "annotations")
    assert merged(given, None) == merged(given, frames / "none") == given
    page = Page(frames)
    page.press("submit", [drawn(3, 4, 10, 12)])
    page.press("skip")
    page.press("submit", [])
    found = merged(given, page.out)
    assert [(a.image, len(a.boxes)) for a in found] == [
        ("a2.jpg", 0),
        ("a10.jpg", 1),
        ("a1.jpg", 1),
    ]
    without_xml = [dataclasses.replace(a, source="") for a in given]
    assert {a.image for a in merged(without_xml, page.out)} == {a.image for a in found}
    assert len(merged(without_xml, page.out)) == 3


# --- the widget's own script


def test_submit_carries_boxes_and_frame(frames):
    """The script of the widget is extended, which a new version of it could prevent."""
    script = str(Page(frames).canvas._esm)
    assert script.count("export default") == 1
    assert "as default" not in script
    for word in ('model.get("frame")', 'model.get("bboxes")', "Backspace"):
        assert word in script
    original = str(labelling._canvas().__mro__[1]._esm)
    for word in ('type: "submit"', 'type: "skip"', '"tabindex"', "buttons "):
        assert word in original, "what the extension holds on to"
