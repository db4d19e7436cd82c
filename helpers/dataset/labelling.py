"""Drawing boxes in the notebook: which frame comes next, the widget, and what it saves.

What is drawn by hand lies in a folder of its own, next to the folders that lessons make again:
one Pascal VOC XML file for each frame that was looked at.
"""

import functools
import html
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box, repaired
from helpers.annotations.folders import images_in
from helpers.annotations.pairing import merged, pair, read_folder
from helpers.annotations.remarks import Remark
from helpers.annotations.voc import read_voc, write_voc
from helpers.common.artifacts import MANIFEST
from helpers.common.errors import CourseError
from helpers.common.images import image_size
from helpers.common.palette import SERIES, SKY, VERMILION, YELLOW
from helpers.dataset.audit import Finding
from helpers.dataset.labels import check_list
from helpers.dataset.orientation import drawn_upright, write_without_tag
from helpers.dataset.sizes import fitted

# The course's colours, then the rest of the Okabe-Ito palette.
COLOURS = (*SERIES, VERMILION, SKY, YELLOW)

KEYS = (
    "Click the picture once, or reach it with Tab; Esc leaves it. Then: drag draws a box, N puts "
    "one into the middle · Enter saves and shows the next frame (no box means that nothing is "
    "there) · Space skips · Backspace goes back · 1 to 9 choose the label · Tab chooses the next "
    "box · Delete removes the chosen box, C gives it the chosen label, the arrows (or W A S D) "
    "move it and Q E R F size it by one pixel, with Shift by ten."
)

# Legible in the light and the dark theme; the names of the classes keep their colour at the side.
STYLE = """
.course-labelling .buttons button {
  background: var(--jp-layout-color3, ButtonFace); color: var(--jp-ui-font-color0, ButtonText);
}
.course-labelling .buttons button.success { background: #2e7d32; color: #fff; }
.course-labelling .class-label {
  -webkit-text-fill-color: var(--jp-ui-font-color0, CanvasText);
  box-shadow: inset 0.4em 0 currentColor; padding-left: 0.8em;
}
"""

# Findings that no drawing can settle; `no annotation` has a place of its own in the queue.
NOT_DRAWN = (
    "no annotation",
    "no image",
    "unreadable image",
    "file name",
    "class left out",
    "same picture twice",
    "near copy",
    "neighbour across the split",
)


def queue(
    images: Sequence[Path],
    annotations: Mapping[str, Annotation],
    *,
    findings: Iterable[Finding] = (),
    out_folder: Path | str | None = None,
) -> list[str]:
    """Order image files for labelling: what needs a look most comes first. Returns their names.

    First the images that one of the audit's `findings` is about, if drawing can settle it, then
    those that `annotations` (image name -> annotation, as `pair` returns it) has not, then the
    rest; images that have their XML file in `out_folder` already come last. Within each group the
    order of `images` stays.
    """
    done = _saved(out_folder)
    faulty = {Path(f.file).stem for f in findings if f.kind not in NOT_DRAWN}

    def place(path: Path) -> int:
        if path.stem in done:
            return 3
        annotation = annotations.get(path.name)
        if {path.stem, _stem(annotation)} & faulty:
            return 0
        return 2 if annotation else 1

    return [path.name for path in sorted(map(Path, images), key=place)]


def labelling_widget(
    images_folder: Path | str,
    annotations_folder: Path | str,
    out_folder: Path | str,
    labels: Sequence[str],
    *,
    findings: Iterable[Finding] = (),
):
    """Return an ipywidgets box to draw the boxes of the images, one after the other.

    Submit writes `<image's stem>.xml` into `out_folder` at once, whole or not at all; a frame
    without a box is written without objects, which says that nothing is there. Called again, it
    resumes with the first frame that has no file there; see `queue` for the order. Skip and back
    write nothing, but keep what was drawn until the kernel ends.

    The picture goes to the browser unshrunk, and boxes are in its pixels: whole ones where a
    mouse or key set them, else as they were. Each is clipped to the image, and one without area
    is left out, with a note below the picture. A box that is moved or gets another label stays
    difficult, truncated or occluded; a new one is none of these. What goes wrong on the way is
    said below the picture; the frame then stays until it is saved.

    Args:
        images_folder: the images.
        annotations_folder: Pascal VOC XML, shown where nothing was drawn before.
        out_folder: for what is drawn.
        labels: to choose from; those that only occur in the annotations are offered after them.
        findings: of the audit, shown below their frames.

    Raises:
        CourseError: for labels that are none, for a folder without images, for an `out_folder`
            that cannot be written or lies in one that a lesson makes again.
    """
    check_list(labels)
    _prepare(Path(out_folder))
    images = {path.name: path for path in images_in(images_folder)}
    # What cannot be read is a finding of the audit; here it can be drawn again.
    given = pair(list(images), read_folder(annotations_folder, _unheard))
    return _Labelling(images, given, Path(out_folder), list(labels), list(findings)).page


class _Labelling:
    """One session of drawing: the widget, which frame it shows, and what is not saved yet."""

    def __init__(
        self,
        images: Mapping[str, Path],
        given: Mapping[str, Annotation],
        out_folder: Path,
        labels: Sequence[str],
        findings: Sequence[Finding],
    ):
        import ipywidgets

        self.images, self.given, self.out_folder = images, given, out_folder
        self.labels, self.findings = labels, findings
        drawn = merged(list(given.values()), out_folder, _unheard)
        others = {box.label for a in drawn for box in a.boxes} - set(labels)
        self.classes = [*labels, *sorted(others)]
        # What is on the screen, and what was drawn on frames that were left without saving.
        self.base: dict[str, Annotation] = {}
        self.drafts: dict[str, list[dict]] = {}

        # Frames saved in earlier sessions come before the first open one: back leads to them.
        order = queue(list(images.values()), given, findings=findings, out_folder=out_folder)
        self.order = sorted(order, key=lambda name: not self.is_saved(name))
        saved = self.count_saved()
        complete = saved == len(order)

        self.canvas = _canvas()(classes=self.classes, label=labels[0], colors=list(COLOURS))
        self.canvas.act = self.act
        self.head, self.note, keys = (ipywidgets.HTML() for _ in range(3))
        keys.value = f"<small>{KEYS}</small>"
        self.page = ipywidgets.VBox([self.head, self.canvas, self.note, keys])
        said = ["All are saved; Backspace leads to the others."] if complete else []
        self.show(saved - complete, said)

    def target(self, name: str) -> Path:
        """Where the boxes of a frame are saved."""
        return self.out_folder / f"{Path(name).stem}.xml"

    def is_saved(self, name: str) -> bool:
        return self.target(name).is_file()

    def count_saved(self) -> int:
        return sum(map(self.is_saved, self.order))

    def show(self, position: int, said: Iterable[str] = ()) -> None:
        """Show a frame, its boxes, and below it what was `said` and found."""
        self.at, name = position, self.order[position]
        said, data = list(said), b""
        boxes: list[dict] = []
        self.base.pop(name, None)
        try:
            stored = read_voc(self.target(name)) if self.is_saved(name) else self.given.get(name)
            self.base[name], data = _picture(self.images[name], stored)
            boxes, unseen = _to_widget(self.base[name])
            said += unseen
            boxes = self.drafts.get(name, boxes)
        except (CourseError, OSError) as error:
            said.append(str(error))
        if strange := sorted({box["label"] for box in boxes} - set(self.labels)):
            said.append(f"also boxed, and kept: {', '.join(map(repr, strange))}")
        stems = {Path(name).stem, _stem(self.given.get(name))}
        about = [finding for finding in self.findings if Path(finding.file).stem in stems]
        said += dict.fromkeys(_in_words(f) for f in about if f.kind != "no annotation")

        state = " (saved)" if self.is_saved(name) else ""
        place = f"<b>{position + 1} of {len(self.order)}</b>"
        self.head.value = f"{place} · {html.escape(name)}{state} · {self.count_saved()} saved"
        self.note.value = "<br>".join(map(html.escape, said))
        # The box that is in doubt is chosen; once redrawn, objects have other numbers.
        doubted = set() if self.is_saved(name) else {f.object for f in about if f.object}
        with self.canvas.hold_sync():  # in one message: never the boxes of one frame on another
            self.canvas.bboxes = [{}]  # an equal list would not be sent: the browser keeps its own
            self.canvas.bboxes = boxes
            chosen = (i for i, box in enumerate(boxes) if box.get("object") in doubted)
            self.canvas.selected_index = next(chosen, -1)
            self.canvas.view_only = name not in self.base
            self.canvas.image_bytes = data
            self.canvas.frame = name

    def act(self, kind: str, name: str, boxes: list[dict]) -> None:
        """Do what a key or button says about the boxes drawn on the frame `name`."""
        if kind == "submit":
            self.submit(name, boxes)
        elif name == self.order[self.at]:
            self.keep(name, boxes)
            self.step(-1 if kind == "back" else 1)

    def submit(self, name: str, boxes: Sequence[Mapping]) -> None:
        """Save the boxes of a frame and show the next."""
        if name not in self.base:
            return
        try:
            annotation, said = _from_widget(boxes, self.base[name], self.classes)
            _save(annotation, self.target(name))
        except (CourseError, OSError) as error:
            self.note.value = f"<b>Not saved.</b> {html.escape(str(error))}"
            return
        self.drafts.pop(name, None)
        if name != self.order[self.at]:
            return  # the key was pressed twice, before the next picture was there
        if self.at + 1 < len(self.order):
            self.show(self.at + 1, said)
            return
        left = len(self.order) - self.count_saved()
        end = f"{left} skipped: run this cell again for them" if left else "all are saved"
        self.show(self.at, [*said, f"This was the last one; {end}."])

    def keep(self, name: str, boxes: Sequence[dict]) -> None:
        """Keep what was drawn on a frame that is left without saving."""
        boxes = [box for box in boxes if box["width"] and box["height"]]  # not what a click leaves
        self.drafts.pop(name, None)
        if name in self.base and boxes != _to_widget(self.base[name])[0]:
            self.drafts[name] = boxes

    def step(self, step: int) -> None:
        """Show the next frame, or with -1 the one before."""
        if 0 <= self.at + step < len(self.order):
            self.show(self.at + step)
        else:
            self.note.value = "This is the first one." if step < 0 else "This is the last one."


@functools.cache
def _canvas() -> type:
    """The class of the drawing widget: a BBoxWidget that can go back, and sends all at once."""
    from jupyter_bbox_widget import BBoxWidget
    from traitlets import List, Unicode

    exported = re.compile(r"export\s*\{\s*(\w+) as default\s*\};?\s*$")
    script, count = exported.subn(r"const original = \1;\n", str(BBoxWidget._esm))
    if not count:
        raise CourseError("jupyter-bbox-widget: not as expected; install the locked version, 0.7")

    class Canvas(BBoxWidget):
        _css = str(BBoxWidget._css) + STYLE
        _esm = script + Path(__file__).with_name("labelling.js").read_text(encoding="utf-8")
        frame = Unicode().tag(sync=True)
        # Boxes that come late are not sent back, where they would land on the next frame.
        bboxes: List[dict] = List().tag(sync=True, echo_update=False)
        act = None

        def _handle_custom_msg(self, content, buffers):
            kind = content.get("type")
            if kind in ("submit", "skip", "back"):
                self.act(kind, content.get("frame", ""), content.get("bboxes", []))

    return Canvas


def _prepare(out_folder: Path) -> None:
    """Make the folder; CourseError where files cannot be written, or would not stay."""
    for folder in (out_folder, *out_folder.absolute().parents):
        if (folder / MANIFEST).is_file():
            raise CourseError(
                f"{out_folder}: lies in {folder.name}, which a lesson makes again, and would be "
                "deleted with it; choose a folder next to it"
            )
    try:
        out_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out_folder):
            pass
    except OSError as error:
        raise _unwritable(out_folder, error) from None


def _unwritable(path: Path, error: OSError) -> CourseError:
    return CourseError(f"{path}: cannot be written ({error.strerror}); choose another folder")


def _save(annotation: Annotation, path: Path) -> None:
    # Without the suffix .xml, so that a file that a kill left behind is never read.
    part = path.with_name(f".{path.name}.part")
    try:
        write_voc(annotation, part)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def _saved(folder: Path | str | None) -> set[str]:
    """Stems of the XML files of a folder; none without a folder."""
    return {path.stem for path in Path(folder).glob("*.xml")} if folder else set()


def _stem(annotation: Annotation | None) -> str:
    return Path(annotation.source or annotation.image).stem if annotation else ""


def _in_words(finding: Finding) -> str:
    which = f"object {finding.object}: " if finding.object else ""
    return f"{which}{finding.kind}: {finding.value}; {finding.fix}"


def _unheard(remark: Remark) -> None:
    """Pass over a remark."""


def _picture(path: Path, annotation: Annotation | None) -> tuple[Annotation, bytes]:
    """The image's annotation with the size that a browser will show, and the file's bytes.

    A browser turns a picture upright by its EXIF tag; so one whose boxes were drawn on the
    pixels as stored is sent without the tag.
    """
    size = image_size(path)
    if size is None:
        raise CourseError(f"{path.name}: no image; replace the file, or delete it, and skip it")
    boxes = fitted(annotation, size).boxes if annotation else ()
    if size.orientation == 1 or drawn_upright(size, annotation):
        return Annotation(path.name, *size.upright, boxes), path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        write_without_tag(path, copy, upright=False)
        return Annotation(path.name, size.width, size.height, boxes), copy.read_bytes()


def _to_widget(annotation: Annotation) -> tuple[list[dict], list[str]]:
    """The widget's boxes, each with the number of its object, and what cannot be shown."""
    boxes, unseen = [], []
    for number, box in enumerate(annotation.boxes, 1):
        inside = repaired(box, annotation.width, annotation.height)
        if inside is None:
            unseen.append(f"object {number} ({box.label}) has no area in the image: left out")
        else:
            boxes.append({**_measures(inside), "object": number})
    return boxes, unseen


def _measures(box: Box) -> dict:
    width, height = box.xmax - box.xmin, box.ymax - box.ymin
    return {"x": box.xmin, "y": box.ymin, "width": width, "height": height, "label": box.label}


def _from_widget(
    boxes: Sequence[Mapping], base: Annotation, classes: Sequence[str]
) -> tuple[Annotation, list[str]]:
    """`base` with the widget's boxes instead of its own, and a note on those left out.

    CourseError for a label that is not among `classes`.
    """
    kept, lost = [], 0
    for number, item in enumerate(boxes, 1):
        label = item.get("label")
        if label not in classes:
            raise CourseError(f"box {number}: label {label!r}; choose one of the labels")
        x, y, width, height = (float(item[key]) for key in ("x", "y", "width", "height"))
        index = item.get("object", 0)
        old = base.boxes[index - 1] if 0 < index <= len(base.boxes) else Box("", 0, 0, 0, 0)
        box = replace(old, label=label, xmin=x, ymin=y, xmax=x + width, ymax=y + height)
        inside = repaired(box, base.width, base.height)
        # Thinner than the file's own rounding is no box.
        if inside and min(inside.xmax - inside.xmin, inside.ymax - inside.ymin) >= 0.01:
            kept.append(inside)
        else:
            lost += bool(width or height)  # no note on a click without a drag
    said = [f"{base.image}: {lost} without area in the image left out"] if lost else []
    return replace(base, boxes=tuple(kept)), said
