"""Drawing boxes in the notebook: which frame comes next, the widget, and what it saves.

What is drawn by hand lies in a folder of its own, beside the folders that lessons make anew:
one Pascal VOC XML file for each frame that was looked at.
"""

import functools
import html
import math
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from helpers.annotations.boxes import Annotation, Box, fault
from helpers.annotations.folders import images_in, merged, natural, pair, read_folder
from helpers.annotations.voc import read_voc, write_voc
from helpers.common.artifacts import MANIFEST
from helpers.common.errors import CourseError
from helpers.common.images import image_size
from helpers.common.palette import SERIES
from helpers.dataset import audit

# The course's colours, then the rest of the Okabe-Ito palette.
COLOURS = (*SERIES, "#D55E00", "#56B4E9", "#F0E442")

KEYS = (
    "Click the picture once, then: drag draws a box · Enter saves and goes on (no box means that "
    "nothing is there) · Space skips · Backspace goes back · 1 to 9 choose the label · Delete "
    "removes the chosen box, C gives it the chosen label, W A S D move it and Q E R F size it by "
    "one pixel, with Shift by ten."
)

# Findings that no drawing can settle; `no annotation` has a place of its own in the queue.
_NOT_DRAWN = (
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
    findings: Iterable[audit.Finding] = (),
    out_folder: Path | str | None = None,
) -> list[str]:
    """Order image files for labelling: what needs a look most comes first. Returns their names.

    First the images that one of the audit's `findings` is about, if drawing can settle it, then
    those that `annotations` (image name -> annotation, as `annotations.pair` returns it) has
    not, then the rest; images that have their XML file in `out_folder` already come last.
    Within each group the order of `images` stays.
    """
    done = set(_stems(out_folder))
    faulty = {Path(f.file).stem for f in findings if f.kind not in _NOT_DRAWN}

    def place(path: Path) -> int:
        if path.stem in done:
            return 3
        annotation = annotations.get(path.name)
        if {path.stem, Path(_source(annotation)).stem} & faulty:
            return 0
        return 2 if annotation else 1

    return [path.name for path in sorted(map(Path, images), key=place)]


def labelling_widget(
    images_folder: Path | str,
    annotations_folder: Path | str,
    out_folder: Path | str,
    labels: Sequence[str],
    *,
    findings: Iterable[audit.Finding] = (),
):
    """Return an ipywidgets box to draw the boxes of the images, one after the other.

    It shows the boxes of `annotations_folder` (Pascal VOC XML) or, where there are some, those
    drawn before. Submit writes `<image's stem>.xml` into `out_folder` at once, whole or not at
    all; a frame without a box is written without objects, which says that nothing is there.
    Called again, it goes on with the first frame that has no file there; see `queue` for the
    order. Skip and back write nothing, but keep what was drawn until the kernel ends.

    The picture goes to the browser unshrunk, and boxes are in its pixels: whole ones where a
    mouse or key set them, else as they were. Each is clipped to the image, and one without area
    is left out, with a word below the picture. A box that is moved or gets another label stays
    difficult, truncated or occluded; one that is drawn anew is none of these. Labels that only
    occur in the annotations are offered after `labels`.

    CourseError for labels that are none, for a folder without images, for an `out_folder` that
    cannot be written or lies in one that a lesson makes anew. What goes wrong later is said
    below the picture; the frame then stays until it is saved.
    """
    import ipywidgets

    images_folder, out_folder = Path(images_folder), Path(out_folder)
    labels, findings = _checked(labels), list(findings)
    _prepare(out_folder)
    paths = {path.name: path for path in images_in(images_folder)}
    found = pair(list(paths), read_folder(annotations_folder))
    about = _by_stem(findings)

    # Those of earlier sessions stand before the first open frame: back leads to them.
    done = set(_stems(out_folder))
    order = queue(list(paths.values()), found, findings=findings, out_folder=out_folder)
    order.sort(key=lambda name: Path(name).stem not in done)
    at = min(sum(Path(name).stem in done for name in order), len(order) - 1)

    others = {box.label for a in merged(list(found.values()), out_folder) for box in a.boxes}
    classes = [*labels, *sorted(others - set(labels))]
    canvas = _canvas()(classes=classes, label=labels[0], colors=list(COLOURS))
    head, note, keys = (ipywidgets.HTML() for _ in range(3))
    keys.value = f"<small>{KEYS}</small>"
    # What is on the screen, and what was drawn on frames that were left without saving.
    base: dict[str, Annotation] = {}
    drafts: dict[str, list[dict]] = {}

    def target(name: str) -> Path:
        return out_folder / f"{Path(name).stem}.xml"

    def show(position: int, *words: str) -> None:
        nonlocal at
        at, name = position, order[position]
        said, annotation, data = [*words], None, b""
        given = found.get(name)
        try:
            stored = read_voc(target(name)) if target(name).is_file() else given
            annotation, data = _picture(paths[name], stored)
        except (CourseError, OSError) as error:
            said.append(str(error))
        base.pop(name, None)
        boxes = []
        if annotation is not None:
            base[name] = annotation
            boxes, unseen = _to_widget(annotation)
            said += unseen
            boxes = drafts.get(name, boxes)
        strange = sorted({box["label"] for box in boxes} - set(labels))
        if strange:
            said.append(f"also boxed, and kept: {', '.join(map(repr, strange))}")
        about_it = [*about[Path(name).stem], *about[Path(_source(given)).stem]]
        # The box that is in doubt is chosen; once redrawn, objects have other numbers.
        doubted = set() if target(name).is_file() else {f.object for f in about_it if f.object}
        items = [
            f"{f'object {f.object}: ' if f.object else ''}{f.kind}: {f.value}; {f.fix}"
            for f in about_it
            if f.kind != "no annotation"
        ]
        saved = sum(target(other).is_file() for other in order)
        state = " (saved)" if target(name).is_file() else ""
        head.value = (
            f"<b>{position + 1} of {len(order)}</b> · {html.escape(name)}{state} · {saved} saved"
        )
        note.value = "<br>".join(html.escape(line) for line in [*said, *dict.fromkeys(items)])
        with canvas.hold_sync():  # all in one message: never the boxes of one frame on another
            canvas.bboxes = [{}]  # an equal list would not be sent: the browser would keep its own
            canvas.bboxes = boxes
            canvas.selected_index = next(
                (i for i, b in enumerate(boxes) if b.get("object") in doubted), -1
            )
            canvas.view_only = annotation is None
            canvas.image_bytes = data
            canvas.frame = name

    def submit(name: str, boxes: list[dict]) -> None:
        if name not in base:
            return
        try:
            annotation, words = _from_widget(boxes, base[name], classes)
            _save(annotation, target(name))
        except (CourseError, OSError) as error:
            note.value = f"<b>Not saved.</b> {html.escape(str(error))}"
            return
        drafts.pop(name, None)
        if name != order[at]:  # the key was pressed twice, before the next picture was there
            return
        if at + 1 < len(order):
            return show(at + 1, *words)
        left = sum(not target(other).is_file() for other in order)
        end = f"{left} skipped: run this cell again for them" if left else "all are saved"
        show(at, *words, f"This was the last one; {end}.")

    def act(kind: str, name: str, boxes: list[dict]) -> None:
        if kind == "submit":
            return submit(name, boxes)
        if name != order[at]:
            return
        step = -1 if kind == "back" else 1
        boxes = [box for box in boxes if box["width"] and box["height"]]  # not what a click leaves
        if name in base and boxes != _to_widget(base[name])[0]:
            drafts[name] = boxes
        else:
            drafts.pop(name, None)
        if 0 <= at + step < len(order):
            return show(at + step)
        note.value = "This is the first one." if step < 0 else "This is the last one."

    canvas.act = act
    complete = all(target(name).is_file() for name in order)
    show(at, *(["All are saved; Backspace leads to the others."] if complete else []))
    return ipywidgets.VBox([head, canvas, note, keys])


# On its own, Submit says neither which boxes nor which frame. Pressed while Python still saves the
# frame before, it would lose boxes just drawn, and save frames that nobody has seen yet.
_CARRY_BOXES = """
export default {
  render({ model, el, ...rest }) {
    const send = (content) => model.send(
      { ...content, frame: model.get("frame"), bboxes: model.get("bboxes") });
    const back = () => { send({ type: "back" }); el.querySelector("[tabindex]").focus(); };
    // A drag that ends beside the picture has ended; text beside it is not dragged along.
    el.style.userSelect = "none";
    el.addEventListener("dragstart", (event) => event.preventDefault());
    const released = (event) => {
      const picture = el.querySelector("svg");
      if (!el.isConnected) window.removeEventListener("mouseup", released);
      else if (picture && !picture.contains(event.target))
        picture.dispatchEvent(new MouseEvent("mouseup", { bubbles: true }));
    };
    window.addEventListener("mouseup", released);
    el.addEventListener("keydown", (event) => {
      // Ctrl+C is the browser's; a key held down does not save frames that nobody has seen.
      const held = event.repeat && ["Enter", "Space"].includes(event.code);
      if (held || event.ctrlKey || event.metaKey || event.altKey) event.stopPropagation();
      if (held) event.preventDefault();
      if (event.code !== "Backspace") return;
      event.preventDefault();
      event.stopPropagation();
      back();
    }, true);
    const close = original.render({ ...rest, el, model: { ...model, send } });
    const skip = el.querySelector(".buttons button");
    const button = document.createElement("button");
    button.className = skip.className;
    button.textContent = "Back";
    button.title = "Keyboard shortcut: Backspace";
    button.addEventListener("click", back);
    skip.before(button);
    return close;
  },
};
"""


@functools.cache
def _canvas() -> type:
    """The class of the drawing widget: a BBoxWidget that can go back, and sends all at once."""
    from jupyter_bbox_widget import BBoxWidget
    from traitlets import List, Unicode

    exported = re.compile(r"export\s*\{\s*(\w+) as default\s*\};?\s*$")
    script, count = exported.subn(r"const original = \1;", str(BBoxWidget._esm))
    if not count:
        raise CourseError("jupyter-bbox-widget: not as expected; install the locked version, 0.7")

    class Canvas(BBoxWidget):
        _esm = script + _CARRY_BOXES
        frame = Unicode().tag(sync=True)
        # Boxes that come late are not sent back, where they would land on the next frame.
        bboxes = List().tag(sync=True, echo_update=False)
        act = None

        def _handle_custom_msg(self, content, buffers):
            kind = content.get("type")
            if kind in ("submit", "skip", "back"):
                self.act(kind, content.get("frame", ""), content.get("bboxes", []))

    return Canvas


def _checked(labels: Sequence[str]) -> list[str]:
    wrong = isinstance(labels, str) or not labels
    if wrong or not all(isinstance(label, str) and label.strip() for label in labels):
        raise CourseError(f'labels: {labels!r}; give a list, such as ["speed_camera"]')
    if twice := [label for label in labels if list(labels).count(label) > 1]:
        raise CourseError(f"labels: {twice[0]!r} is given twice; delete one")
    return list(labels)


def _prepare(out_folder: Path) -> None:
    """Make the folder; CourseError where files cannot be written, or would not stay."""
    for folder in (out_folder, *out_folder.absolute().parents):
        if (folder / MANIFEST).is_file():
            raise CourseError(
                f"{out_folder}: lies in {folder.name}, which a lesson makes anew, and would be "
                "deleted with it; choose a folder beside it"
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
    # Hidden, and without the suffix .xml: a file that a kill left behind is never read.
    part = path.with_name(f".{path.name}.part")
    try:
        write_voc(annotation, part)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise _unwritable(path, error) from None


def _stems(folder: Path | str | None) -> list[str]:
    """Stems of the XML files of a folder, in natural order; none without a folder."""
    return [path.stem for path in natural(Path(folder).glob("*.xml"))] if folder else []


def _source(annotation: Annotation | None) -> str:
    return "" if annotation is None else annotation.source or annotation.image


def _by_stem(findings: Iterable[audit.Finding]) -> dict[str, list[audit.Finding]]:
    found = defaultdict(list)
    for finding in findings:
        found[Path(finding.file).stem].append(finding)
    return found


def _picture(path: Path, annotation: Annotation | None) -> tuple[Annotation, bytes]:
    """The image as a browser shall show it, and its annotation with the size it has there.

    A browser turns a picture upright by its EXIF tag; so one whose boxes were drawn on the
    pixels as stored is written without the tag.
    """
    size = image_size(path)
    if size is None:
        raise CourseError(f"{path.name}: no image; replace the file, or delete it, and skip it")
    width, height = size.upright
    data = path.read_bytes()
    if annotation and size.orientation != 1 and audit.turning(size, annotation) != audit.UPRIGHT:
        width, height = size.width, size.height
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            audit.write_upright(path, copy, annotation)
            data = copy.read_bytes()
    boxes = annotation.boxes if annotation else ()
    return Annotation(path.name, width, height, boxes), data


def _clipped(box: Box, width: int, height: int) -> Box | None:
    """The part of a box that is in the image, its edges in order; None when none is."""
    if not all(map(math.isfinite, box.xyxy)):
        return None
    xs, ys = (box.xmin, box.xmax), (box.ymin, box.ymax)
    left, right = (min(max(x, 0), width) for x in (min(xs), max(xs)))
    top, bottom = (min(max(y, 0), height) for y in (min(ys), max(ys)))
    inside = replace(box, xmin=left, ymin=top, xmax=right, ymax=bottom)
    return None if fault(inside, width, height) else inside


def _to_widget(annotation: Annotation) -> tuple[list[dict], list[str]]:
    """The widget's boxes, each with the number of its object, and what cannot be shown."""
    boxes, unseen = [], []
    for number, box in enumerate(annotation.boxes, 1):
        inside = _clipped(box, annotation.width, annotation.height)
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
    """`base` with the widget's boxes instead of its own, and a word on those left out.

    CourseError for a label that is not among `classes`.
    """
    kept, lost = [], 0
    for number, item in enumerate(boxes, 1):
        label = item.get("label")
        if label not in classes:
            raise CourseError(f"box {number}: label {label!r}; choose one of the labels")
        x, y, width, height = (float(item[key]) for key in ("x", "y", "width", "height"))
        object_ = item.get("object", 0)
        old = base.boxes[object_ - 1] if 0 < object_ <= len(base.boxes) else None
        box = replace(
            old or Box(label, 0, 0, 0, 0),
            label=label,
            xmin=x,
            ymin=y,
            xmax=x + width,
            ymax=y + height,
        )
        inside = _clipped(box, base.width, base.height)
        # Thinner than the file's own rounding is no box.
        if inside and min(inside.xmax - inside.xmin, inside.ymax - inside.ymin) >= 0.01:
            kept.append(inside)
        else:
            lost += bool(width or height)  # no word on a click without a drag
    words = [f"{base.image}: {lost} without area in the image left out"] if lost else []
    return replace(base, boxes=tuple(kept)), words
