"""Formats that are read only: each file is written here as its tool writes it, from known boxes."""

import csv
import io
import json
import math
import struct
from contextlib import suppress
from html import escape
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.annotations.boxes import Annotation, Box
from helpers.annotations.formats import read_annotations, survey
from helpers.annotations.pictures import Pictures
from helpers.annotations.readers import (
    createml,
    cvat,
    label_studio,
    labelme,
    open_images,
    via,
    vott,
)
from helpers.common.errors import CourseError

READERS = (labelme, via, cvat, vott, open_images, label_studio, createml)


def image(path, width=640, height=480):
    """A BMP file of which there is only the header: readers of sizes need no more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info)


def read(file, images=None):
    """Annotations by image, and the remarks; the one reader that takes the file reads it."""
    head = file.read_text(encoding="utf-8")[: 1 << 16]
    (reader,) = (reader for reader in READERS if reader.matches(file, head))
    remarks = []
    found = list(reader.read(file, Pictures.of(images or file.parent), remarks.append))
    return {annotation.image: annotation for annotation in found}, remarks


def edges(annotation):
    return [tuple(round(edge, 4) for edge in box.xyxy) for box in annotation.boxes]


def dump(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return path


# Each tool's file from annotations; the names are those of the formats in READERS.


def write_labelme(annotations, folder):
    for a in annotations:
        shapes = [
            {
                "label": box.label,
                # Labelme keeps the corners in the order of the clicks.
                "points": [[box.xmax, box.ymin], [box.xmin, box.ymax]],
                "group_id": None,
                "shape_type": "rectangle",
                "flags": {},
            }
            for box in a.boxes
        ]
        page = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": a.image}
        page |= {"imageData": None, "imageHeight": a.height, "imageWidth": a.width}
        dump(folder / f"{Path(a.image).stem}.json", page)


def via_shape(box):
    size = {"width": box.xmax - box.xmin, "height": box.ymax - box.ymin}
    return {"name": "rect", "x": box.xmin, "y": box.ymin, **size}


def write_via(annotations, folder):
    images = {
        f"{a.image}123": {
            "filename": a.image,
            "size": 123,
            "regions": [
                {"shape_attributes": via_shape(box), "region_attributes": {"kind": box.label}}
                for box in a.boxes
            ],
            "file_attributes": {},
        }
        for a in annotations
    }
    dump(folder / "via_project.json", {"_via_settings": {}, "_via_img_metadata": images})


VIA_COLUMNS = (
    "filename",
    "file_size",
    "file_attributes",
    "region_count",
    "region_id",
    "region_shape_attributes",
    "region_attributes",
)


def write_via_csv(annotations, folder):
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(VIA_COLUMNS)
    for a in annotations:
        if not a.boxes:
            table.writerow([a.image, 123, "{}", 0, 0, "{}", "{}"])
        for i, box in enumerate(a.boxes):
            cells = json.dumps(via_shape(box)), json.dumps({"kind": box.label})
            table.writerow([a.image, 123, "{}", len(a.boxes), i, *cells])
    (folder / "via.csv").write_text(text.getvalue(), encoding="utf-8")


def cvat_box(box, more=""):
    names = zip(("xtl", "ytl", "xbr", "ybr"), box.xyxy, strict=True)
    corners = " ".join(f'{name}="{edge:.2f}"' for name, edge in names)
    return f'<box occluded="{box.occluded:d}" {corners} {more}></box>'


def cvat_page(body, source="drive.mp4", size=(640, 480)):
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>'
        f"<id>1</id><original_size><width>{size[0]}</width><height>{size[1]}</height>"
        f"</original_size><source>{source}</source></task></meta>{body}</annotations>"
    )


def write_cvat(annotations, folder):
    body = ""
    for i, a in enumerate(annotations):
        shapes = "".join(cvat_box(box, f'label="{escape(box.label)}"') for box in a.boxes)
        size = f'width="{a.width}" height="{a.height}"'
        body += f'<image id="{i}" name="{escape(a.image)}" {size}>{shapes}</image>'
    (folder / "annotations.xml").write_text(cvat_page(body), encoding="utf-8")


def vott_entry(a, state=2):
    regions = [
        {
            "id": str(i),
            "type": "RECTANGLE",
            "tags": [box.label],
            "boundingBox": {
                "left": box.xmin,
                "top": box.ymin,
                "width": box.xmax - box.xmin,
                "height": box.ymax - box.ymin,
            },
            "points": [],
        }
        for i, box in enumerate(a.boxes)
    ]
    asset = {"format": "bmp", "name": a.image, "path": f"file:C:/pictures/{a.image}"}
    asset |= {"size": {"width": a.width, "height": a.height}, "state": state, "type": 1}
    return {"asset": asset, "regions": regions, "version": "2.2.0"}


def write_vott(annotations, folder):
    assets = {str(i): vott_entry(a) for i, a in enumerate(annotations)}
    page = {"name": "cranes", "videoSettings": {"frameExtractionRate": 15}, "assets": assets}
    dump(folder / "cranes-export.json", page)


def write_vott_assets(annotations, folder):
    for i, a in enumerate(annotations):
        dump(folder / f"{i}-asset.json", vott_entry(a))


def write_open_images(annotations, folder):
    lines = ["ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated"]
    text = io.StringIO("\n".join([*lines, ""]))
    text.seek(0, io.SEEK_END)
    table = csv.writer(text, lineterminator="\n")
    for a in annotations:
        for box in a.boxes:
            spans = box.xmin / a.width, box.xmax / a.width, box.ymin / a.height, box.ymax / a.height
            cells = [f"{value:.10f}" for value in spans]
            table.writerow([Path(a.image).stem, "xclick", box.label, 1, *cells, 0, 0])
    (folder / "train-annotations-bbox.csv").write_text(text.getvalue(), encoding="utf-8")


def percent(box, width, height):
    spans = (box.xmin / width, box.ymin / height)
    spans += ((box.xmax - box.xmin) / width, (box.ymax - box.ymin) / height)
    value = {k: 100 * v for k, v in zip(("x", "y", "width", "height"), spans, strict=True)}
    return value | {"rotation": 0, "rectanglelabels": [box.label]}


def task(a, number=1):
    results = [
        {
            "original_width": a.width,
            "original_height": a.height,
            "image_rotation": 0,
            "value": percent(box, a.width, a.height),
            "id": f"r{i}",
            "from_name": "label",
            "to_name": "image",
            "type": "rectanglelabels",
        }
        for i, box in enumerate(a.boxes)
    ]
    done = {"id": 7, "was_cancelled": False, "result": results}
    upload = f"a1b2c300-{a.image}"
    data = {"image": f"/data/upload/1/{upload}"}
    return {"id": number, "annotations": [done], "file_upload": upload, "data": data}


def write_label_studio(annotations, folder):
    tasks = [task(a, i) for i, a in enumerate(annotations)]
    # A file in which no one has drawn anything is recognised by nobody.
    dump(folder / "project-1.json", tasks)


def write_label_studio_min(annotations, folder):
    rows = []
    for i, a in enumerate(annotations):
        size = {"original_width": a.width, "original_height": a.height}
        shapes = [percent(box, a.width, a.height) | size for box in a.boxes]
        row = {"image": f"/data/upload/1/a1b2c300-{a.image}", "id": i, "label": shapes}
        rows.append(row | {"annotator": 1, "updated_at": "2026-01-01T10:00:00.5Z"})
    dump(folder / "project-min.json", rows)


def write_createml(annotations, folder):
    rows = []
    for a in annotations:
        shapes = []
        for box in a.boxes:
            centre = {"x": (box.xmin + box.xmax) / 2, "y": (box.ymin + box.ymax) / 2}
            size = {"width": box.xmax - box.xmin, "height": box.ymax - box.ymin}
            shapes.append({"label": box.label, "coordinates": centre | size})
        rows.append({"image": a.image, "annotations": shapes})
    dump(folder / "_annotations.createml.json", rows)


WRITERS = {
    "labelme": write_labelme,
    "via": write_via,
    "via csv": write_via_csv,
    "cvat": write_cvat,
    "vott": write_vott,
    "vott assets": write_vott_assets,
    "open images": write_open_images,
    "label studio": write_label_studio,
    "label studio min": write_label_studio_min,
    "create ml": write_createml,
}
# Pixels by which an edge may move: what the tool rounds to, else what adding floats costs.
ROUNDING = {"cvat": 0.0051, "open images": 1e-6}

label = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cn", "Cs", "Zl", "Zp")), min_size=1
).filter(lambda text: text.strip() != "" and not set(text) & set("\ufffe\uffff\ufeff"))
NAMES = ("frame_00001.bmp", "Kamera 1 é.bmp", "a%20b.bmp", "with, comma;.bmp")


@st.composite
def datasets(draw):
    found = []
    for name in NAMES[: draw(st.integers(1, len(NAMES)))]:
        width, height = draw(st.integers(1, 8000)), draw(st.integers(1, 8000))

        def span(size):
            at = st.floats(0, size, allow_subnormal=False)
            low, high = sorted(draw(st.tuples(at, at)))
            return (low, high) if low < high else (0.0, float(size))

        boxes = []
        # The first image has a box: files without any are no file of a tool for certain.
        for _ in range(draw(st.integers(int(not found), 3))):
            (xmin, xmax), (ymin, ymax) = span(width), span(height)
            boxes.append(Box(draw(label), xmin, ymin, xmax, ymax))
        found.append(Annotation(name, width, height, tuple(boxes)))
    return found


@pytest.mark.parametrize("tool", WRITERS)
@settings(max_examples=40, deadline=None)
@given(before=datasets())
def test_no_box_moves_by_more_than_the_tool_rounds(tool, before, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    for a in before:
        image(folder / a.image, a.width, a.height)
    WRITERS[tool](before, folder)
    after = {}
    for file in [f for f in folder.iterdir() if f.suffix != ".bmp"]:
        found, remarks = read(file)
        assert remarks == []
        after |= found
    for old in before:
        if not old.boxes and tool == "open images":
            continue
        new = after.pop(old.image)
        assert (new.width, new.height) == (old.width, old.height)
        assert [box.label for box in new.boxes] == [box.label for box in old.boxes]
        for one, other in zip(old.boxes, new.boxes, strict=True):
            moved = max(abs(a - b) for a, b in zip(one.xyxy, other.xyxy, strict=True))
            assert moved <= ROUNDING.get(tool, 1e-9)
    assert not after


CRANE = Annotation("k0.bmp", 640, 480, (Box("crane", 100, 80, 220, 190),))


@pytest.mark.parametrize("tool", WRITERS)
def test_a_folder_of_one_tool_is_recognised_and_read(tool, tmp_path):
    image(tmp_path / "pictures" / CRANE.image)
    WRITERS[tool]([CRANE], tmp_path)
    seen = survey(tmp_path)
    assert (len(seen.files), seen.unknown) == (1, [])
    (found,) = read_annotations(tmp_path)
    assert (found.image, found.width, found.height) == ("k0.bmp", 640, 480)
    assert edges(found) == [(100, 80, 220, 190)]


@pytest.mark.parametrize("tool", WRITERS)
def test_a_picture_that_is_not_there_is_said_and_the_rest_is_read(tool, tmp_path):
    image(tmp_path / CRANE.image)
    gone = Annotation("gone.bmp", 640, 480, CRANE.boxes)
    WRITERS[tool]([gone, CRANE], tmp_path)
    remarks = []
    assert [a.image for a in read_annotations(tmp_path, note=remarks.append)] == ["k0.bmp"]
    (remark,) = remarks
    assert (remark.kind, "gone" in remark.value) == ("no image", True)


def nodes(data, path=()):
    """The paths of all values in a JSON document."""
    yield path
    if isinstance(data, list):
        data = dict(enumerate(data))
    for key, value in data.items() if isinstance(data, dict) else ():
        yield from nodes(value, (*path, key))


JUNK = st.sampled_from(
    [None, True, -1, 0, 1e999, math.nan, 10**400, "", "x", "\0", [], [1], {}, {"a": 1}, [[]], [{}]]
)


@pytest.mark.parametrize(
    "tool", ["labelme", "via", "vott", "label studio", "label studio min", "create ml"]
)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_json_gives_remarks_or_one_error(tool, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    for name in ("k0.bmp", "k1.bmp"):
        image(folder / name)
    WRITERS[tool]([CRANE, Annotation("k1.bmp", 640, 480, CRANE.boxes)], folder)
    file = sorted(folder.glob("*.json"))[0]
    page = json.loads(file.read_text())
    reader = next(r for r in READERS if r.matches(file, file.read_text()))
    path = data.draw(st.sampled_from(list(nodes(page))))
    junk = data.draw(JUNK)
    if path:
        parent = page
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = junk
    else:
        page = junk
    file.write_text(json.dumps(page))
    remarks = []
    found = []
    with suppress(CourseError):
        found = list(reader.read(file, Pictures.of(folder), remarks.append))
    for annotation in found:
        assert annotation.image in ("k0.bmp", "k1.bmp")
        assert all(math.isfinite(edge) for box in annotation.boxes for edge in box.xyxy)


# Labelme


def labelme_page(*shapes, **more):
    page = {"version": "5.0.1", "flags": {}, "shapes": list(shapes), "imagePath": "k0.bmp"}
    return page | {"imageData": None, "imageHeight": 480, "imageWidth": 640} | more


def shape(kind, points, **more):
    return {"label": "crane", "shape_type": kind, "points": points, "flags": {}} | more


def test_labelme_shapes_that_enclose_something_have_a_box(tmp_path):
    image(tmp_path / "k0.bmp")
    slanted = [[100, 50], [150, 100], [100, 150], [50, 100]]
    page = labelme_page(
        shape("polygon", [[10, 20], [40, 90], [30, 5]]),
        shape("circle", [[100, 100], [103, 104]]),
        shape("mask", [[10, 20], [19, 39]]),
        shape("oriented_rectangle", [[10, 20], [80, 20], [80, 30], [10, 30]]),
        shape("rotation", slanted, difficult=True),
        shape(None, [[1, 2], [3, 4], [5, 0]]),
        shape("point", [[1, 2]]),
        shape("line", [[1, 2], [3, 4]]),
        shape("point", [[7, 2]]),
    )
    found, remarks = read(dump(tmp_path / "k0.json", page))
    assert edges(found["k0.bmp"]) == [
        (10, 5, 40, 90),
        (95, 95, 105, 105),
        (10, 20, 20, 40),
        (10, 20, 80, 30),
        (50, 50, 150, 150),
        (1, 0, 5, 4),
    ]
    assert [box.difficult for box in found["k0.bmp"].boxes] == [False] * 4 + [True, False]
    assert [(r.where, r.kind) for r in remarks] == [
        ("shapes[4]", "rotated box"),
        ("shapes[6]", "not understood"),
        ("shapes[7]", "not understood"),
    ]
    assert "and 1 more like it" in remarks[1].value


def test_a_bad_labelme_shape_is_a_remark_and_the_others_are_read(tmp_path):
    image(tmp_path / "k0.bmp")
    good = shape("rectangle", [[1, 2], [30, 40]])
    page = labelme_page(
        shape("rectangle", [[1, 2]]), shape("rectangle", "?"), good | {"label": " "}, good, 7
    )
    found, remarks = read(dump(tmp_path / "k0.json", page))
    assert edges(found["k0.bmp"]) == [(1, 2, 30, 40)]
    places = ["shapes[0]", "shapes[1]", "shapes[2]", "shapes[4]"]
    assert [(r.where, r.kind) for r in remarks] == [(place, "bad line") for place in places]


@pytest.mark.parametrize(
    ("stated", "json_name"),
    [
        ("..\\pictures\\k0.bmp", "k0"),  # Windows
        ("IMG_0001.bmp", "k0"),  # json and picture renamed
        ("k0.bmp", "first"),  # the json alone has another name
        (None, "k0"),
        ("k0.jpg", "k0"),  # converted
    ],
)
def test_the_picture_of_a_labelme_json(stated, json_name, tmp_path):
    image(tmp_path / "pictures" / "k0.bmp")
    image(tmp_path / "pictures" / "k1.bmp")
    page = labelme_page(shape("rectangle", [[1, 2], [30, 40]]), imagePath=stated)
    found, remarks = read(dump(tmp_path / "json" / f"{json_name}.json", page), tmp_path)
    assert (list(found), remarks) == (["k0.bmp"], [])


def test_a_picture_that_lies_in_the_json_alone_is_said(tmp_path):
    image(tmp_path / "other.bmp")
    page = {"imageData": "AAAA" * 20000} | labelme_page(imageData="AAAA" * 20000)
    found, remarks = read(dump(tmp_path / "k0.json", page))
    assert (found, [r.kind for r in remarks]) == ({}, ["no image"])
    assert "inside the json" in remarks[0].fix


# VIA


def region(attributes, **shape_attributes):
    return {"shape_attributes": shape_attributes, "region_attributes": attributes}


def via_file(folder, *regions, name="k0.bmp"):
    image(folder / "k0.bmp")
    entry = {"filename": name, "size": 1, "regions": list(regions), "file_attributes": {}}
    return dump(folder / "via_region_data.json", {f"{name}1": entry})


RECT = {"name": "rect", "x": 1, "y": 2, "width": 30, "height": 40}


def test_via_shapes_that_enclose_something_have_a_box(tmp_path):
    type_ = {"type": "crane"}
    quarter = math.pi / 2
    file = via_file(
        tmp_path,
        region(type_, name="polygon", all_points_x=[10, 40, 30], all_points_y=[20, 90, 5]),
        region(type_, name="circle", cx=100, cy=90, r=5),
        region(type_, name="ellipse", cx=100, cy=90, rx=20, ry=5),
        region(type_, name="ellipse", cx=100, cy=90, rx=20, ry=5, theta=quarter),
        region(type_, name="point", cx=5, cy=6),
        region(type_, name="polyline", all_points_x=[1, 2], all_points_y=[1, 2]),
    )
    found, remarks = read(file)
    boxes = [(10, 5, 40, 90), (95, 85, 105, 95), (80, 85, 120, 95), (95, 70, 105, 110)]
    assert edges(found["k0.bmp"]) == boxes
    assert [r.value for r in remarks] == [
        "shape without a box: point",
        "shape without a box: polyline",
    ]


def test_the_attribute_of_via_that_holds_the_label(tmp_path):
    file = via_file(
        tmp_path,
        region({"colour": "red", "Type": "crane"}, **RECT),
        region({"colour": "blue", "Type": {"lorry": True, "van": False}}, **RECT),
    )
    found, remarks = read(file)
    assert [box.label for box in found["k0.bmp"].boxes] == ["crane", "lorry"]
    (remark,) = remarks
    assert (remark.kind, "colour" in remark.value) == ("not used", True)


def test_regions_of_via_without_a_label_are_said_once(tmp_path):
    file = via_file(tmp_path, *[region({}, **RECT)] * 3, region({"type": "crane"}, **RECT))
    found, remarks = read(file)
    assert len(found["k0.bmp"].boxes) == 1
    (remark,) = remarks
    assert (remark.kind, "2 more" in remark.value) == ("bad line", True)


def test_via_1_numbers_its_regions_and_marks_its_csv(tmp_path):
    image(tmp_path / "k0.bmp")
    entry = {"filename": "k0.bmp", "regions": {"0": region({"a": "crane"}, **RECT)}}
    found, _ = read(dump(tmp_path / "via.json", {"k0.bmp1": entry | {"file_attributes": {}}}))
    assert edges(found["k0.bmp"]) == [(1, 2, 31, 42)]
    row = {"region_shape_attributes": json.dumps(RECT), "region_attributes": '{"a": "crane"}'}
    text = io.StringIO()
    table = csv.DictWriter(text, ["#filename", *VIA_COLUMNS[1:]], restval="")
    table.writeheader()
    table.writerows([row | {"#filename": "k0.bmp"}, {"#filename": "k0.bmp"}])
    (tmp_path / "via.csv").write_text(text.getvalue())
    found, remarks = read(tmp_path / "via.csv")
    assert edges(found["k0.bmp"]) == [(1, 2, 31, 42)]
    assert [(r.where, r.kind) for r in remarks] == [("line 3", "bad line")]


# CVAT


def test_cvat_shapes_that_enclose_something_have_a_box(tmp_path):
    image(tmp_path / "k0.bmp")
    tall = Box("crane", 100, 100, 120, 160, occluded=True)
    corners = "".join(
        f' x{corner}{side}="{x}" y{corner}{side}="{y}"'
        for side, shift in ((1, 0), (2, 50))
        for corner, x, y in (
            ("tl", 10 + shift, 20),
            ("bl", 10 + shift, 90),
            ("tr", 40 + shift, 20),
            ("br", 40 + shift, 90),
        )
    )
    body = (
        '<image id="0" name="images/k0.bmp" width="640" height="480">'
        + cvat_box(tall, 'label="crane" rotation="90.00"')
        + cvat_box(tall, 'label="crane" rotation="45.00"').replace(
            "</box>", '<attribute name="difficult">true</attribute></box>'
        )
        + '<polygon label="crane" points="10.00,20.00;40.00,90.00;30.00,5.00" occluded="0"/>'
        + '<ellipse label="crane" cx="100" cy="90" rx="20" ry="5" rotation="90.0"/>'
        + '<mask label="crane" rle="1, 2" left="10" top="20" width="30" height="40"/>'
        + f'<cuboid label="crane"{corners}/>'
        + '<points label="crane" points="1,2"/><tag label="sunny"/>'
        + '</image><image id="1" name="k1.bmp" width="640" height="480"></image>'
    )
    image(tmp_path / "k1.bmp")
    (tmp_path / "annotations.xml").write_text(cvat_page(body))
    found, remarks = read(tmp_path / "annotations.xml")
    half = (20 + 60) / 2 / math.sqrt(2)
    assert edges(found["k0.bmp"]) == [
        (80, 120, 140, 140),
        tuple(round(v, 4) for v in (110 - half, 130 - half, 110 + half, 130 + half)),
        (10, 5, 40, 90),
        (95, 70, 105, 110),
        (10, 20, 40, 60),
        (10, 20, 90, 90),
    ]
    assert found["k0.bmp"].boxes[0].occluded
    assert [box.difficult for box in found["k0.bmp"].boxes[:2]] == [False, True]
    assert found["k1.bmp"].boxes == ()  # CVAT lists what has no objects
    assert [r.kind for r in remarks] == ["rotated box", "not understood", "not understood"]


def tracks(*shapes):
    boxes = "".join(
        cvat_box(Box("", x, 10, x + 50, 60), f'frame="{frame}" outside="{outside:d}" keyframe="1"')
        for frame, x, outside in shapes
    )
    return f'<track id="0" label="crane">{boxes}</track>'


def test_tracks_of_cvat_are_the_boxes_of_frames(tmp_path):
    for frame in (0, 12, 13):
        image(tmp_path / "images" / f"frame_{frame:06d}.bmp")
    body = tracks((0, 10, False), (12, 20, False), (13, 20, True)) + tracks((12, 100, False))
    (tmp_path / "annotations.xml").write_text(cvat_page(body))
    found, remarks = read(tmp_path / "annotations.xml")
    assert {name: edges(a) for name, a in found.items()} == {
        "frame_000000.bmp": [(10, 10, 60, 60)],
        "frame_000012.bmp": [(20, 10, 70, 60), (100, 10, 150, 60)],
    }
    assert remarks == []


def test_tracks_of_a_video_keep_the_names_of_frames(tmp_path):
    file = tmp_path / "annotations.xml"
    file.write_text(cvat_page(tracks((12, 20, False))))
    (found,) = read_annotations(file, Pictures(tmp_path))
    assert (found.image, found.width, found.height) == ("frame_000012", 640, 480)
    # Of the video, its size is known, also where the file does not say it.
    file.write_text(cvat_page(tracks((12, 20, False)), size=(0, 0)))
    (found,) = read_annotations(file, Pictures(tmp_path, frame_size=(320, 240)))
    assert (found.image, found.width, found.height) == ("frame_000012", 320, 240)


def test_frames_that_are_pictures_with_names_of_their_own(tmp_path):
    image(tmp_path / "yard.bmp")
    (tmp_path / "annotations.xml").write_text(cvat_page(tracks((0, 20, False), ("9" * 5000, 1, 0))))
    found, remarks = read(tmp_path / "annotations.xml")
    assert (found, [r.kind for r in remarks]) == ({}, ["bad line", "no image"])
    assert "CVAT for images" in remarks[1].fix


def test_tracks_of_several_tasks_are_refused(tmp_path):
    body = "".join(
        tracks((0, 10, False)).replace('id="0"', f'id="0" task_id="{i}"') for i in (1, 2)
    )
    (tmp_path / "annotations.xml").write_text(cvat_page(body))
    with pytest.raises(CourseError, match="export each task"):
        read(tmp_path / "annotations.xml")


@pytest.mark.parametrize(
    "text",
    [
        "<annotations><image",
        '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>',
        "<annotations>\0</annotations>",
    ],
)
def test_xml_that_is_broken_or_declares_entities_is_refused(text, tmp_path):
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(CourseError) as error:
        read(tmp_path / "annotations.xml")
    assert "\n" not in str(error.value)


def test_bad_shapes_and_frames_of_cvat_are_remarks(tmp_path):
    image(tmp_path / "k0.bmp")
    body = (
        '<image name="k0.bmp"><box label="crane" xtl="?" ytl="1" xbr="2" ybr="3"/>'
        '<box label="" xtl="1" ytl="1" xbr="2" ybr="3"/><polygon label="crane"/>'
        '<box label="crane" xtl="1" ytl="1" xbr="2" ybr="3"/></image><image/>'
    ) + tracks(("x", 1, False))
    (tmp_path / "annotations.xml").write_text(cvat_page(body))
    found, remarks = read(tmp_path / "annotations.xml")
    assert edges(found["k0.bmp"]) == [(1, 1, 2, 3)]
    assert [r.kind for r in remarks] == ["bad line"] * 5


# VoTT


def test_vott_assets_that_nobody_has_visited_are_not_annotated(tmp_path):
    for name in ("k0.bmp", "k1.bmp"):
        image(tmp_path / name)
    empty = Annotation("k0.bmp", 640, 480)
    assets = {"a": vott_entry(empty, state=0)}
    assets["b"] = vott_entry(Annotation("k1.bmp", 640, 480), state=1)
    page = {"videoSettings": {}, "assets": assets}
    found, remarks = read(dump(tmp_path / "export.json", page))
    assert ({name: a.boxes for name, a in found.items()}, remarks) == ({"k1.bmp": ()}, [])


def test_vott_names_frames_of_videos_and_gives_a_box_for_each_tag(tmp_path):
    image(tmp_path / "my yard.mp4#t=1.5.bmp")
    entry = vott_entry(Annotation("my%20yard.mp4#t=1.5", 640, 480, CRANE.boxes))
    entry["regions"][0]["tags"] = ["crane", "yellow"]
    points = [{"x": 10, "y": 20}, {"x": 40, "y": 90}, {"x": 30, "y": 5}]
    entry["regions"] += [{"type": "POLYGON", "tags": ["crane"], "points": points}]
    entry["regions"] += [{"type": "POINT", "tags": ["crane"], "points": points[:1]}]
    entry["regions"] += [{"type": "RECTANGLE", "tags": [], "points": points}]
    found, remarks = read(dump(tmp_path / "1-asset.json", entry))
    boxes = found["my yard.mp4#t=1.5.bmp"].boxes
    assert [(box.label, box.xyxy) for box in boxes] == [
        ("crane", (100, 80, 220, 190)),
        ("yellow", (100, 80, 220, 190)),
        ("crane", (10, 5, 40, 90)),
    ]
    assert [r.kind for r in remarks] == ["not understood", "bad line"]


# Open Images

OPEN_IMAGES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,"
    "IsDepiction,IsInside\n"
)


def test_open_images_takes_the_names_of_its_classes(tmp_path):
    image(tmp_path / "images" / "000026e7ee790996.bmp", 1000, 500)
    rows = (
        "000026e7ee790996,xclick,/m/0k4j,1,0.1,0.2,0.5,1,1,1,0,0,0\n"
        "000026e7ee790996,xclick,/m/0k4j,1,0.1,0.2,0.5,1,-1,0,1,0,0\n"
        "000026e7ee790996,xclick,/m/0zz,1,?,0.2,0.5,1,0,0,1,0,0\n"
        "deadbeef00000000,xclick,/m/0k4j,1,0.1,0.2,0.5,1,0,0,0,0,0\n"
        "deadbeef00000001,xclick,/m/0k4j,1,0.1,0.2,0.5,1,0,0,0,0,0\n"
    )
    file = tmp_path / "csv" / "train-annotations-bbox.csv"
    file.parent.mkdir()
    file.write_text(OPEN_IMAGES + rows)
    found, remarks = read(file, tmp_path)
    assert [box.label for box in found["000026e7ee790996.bmp"].boxes] == ["/m/0k4j"] * 2
    assert {r.kind for r in remarks} == {"bad line", "label", "no image"}
    missing = next(r for r in remarks if r.kind == "no image")
    assert missing.value.startswith("2 pictures are not there")

    (tmp_path / "csv" / "class-descriptions-boxable.csv").write_text("/m/0k4j,Car\n/m/0zz,Van\n")
    found, remarks = read(file, tmp_path)
    (car, cars) = found["000026e7ee790996.bmp"].boxes
    assert car == Box("Car", 100, 250, 200, 500, truncated=True, occluded=True)
    assert cars == Box("Car", 100, 250, 200, 500, difficult=True)
    assert [r.kind for r in remarks] == ["bad line", "no image"]
    assert survey(tmp_path).unknown == []  # the table of classes is no stranger


# Label Studio


def test_a_rectangle_that_was_turned_in_label_studio(tmp_path):
    # label-studio#2293: 300 x 100 at (200, 100), turned by 90 degrees, is 100 x 300 at (100, 100).
    image(tmp_path / "k0.bmp", 1000, 500)
    a = Annotation("k0.bmp", 1000, 500, (Box("crane", 200, 100, 500, 200),) * 2)
    page = [task(a)]
    for result, degrees in zip(page[0]["annotations"][0]["result"], (90, 45), strict=True):
        result["value"]["rotation"] = degrees
    found, remarks = read(dump(tmp_path / "project.json", page))
    upright, slanted = edges(found["k0.bmp"])
    assert upright == (100, 100, 200, 400)
    side = 1 / math.sqrt(2)
    corners = (200 - 100 * side, 100, 200 + 300 * side, 100 + 400 * side)
    assert slanted == tuple(round(v, 4) for v in corners)
    assert [r.kind for r in remarks] == ["rotated box"]


def test_label_studio_percent_are_of_the_size_at_the_time(tmp_path):
    # The picture was halved afterwards: the size stays as stated, for the check of sizes to see.
    image(tmp_path / "k0.bmp", 320, 240)
    found, _ = read(dump(tmp_path / "project.json", [task(CRANE)]))
    assert (found["k0.bmp"].width, edges(found["k0.bmp"])) == (640, [(100, 80, 220, 190)])


def test_tasks_of_label_studio(tmp_path):
    for i in range(6):
        image(tmp_path / f"k{i}.bmp")

    def k(i, boxes=CRANE.boxes):
        return task(Annotation(f"k{i}.bmp", 640, 480, boxes), i)

    skipped, untouched, twice, predicted = k(1), k(2), k(4), k(5)
    skipped["annotations"][0]["was_cancelled"] = True
    untouched["annotations"] = []
    twice["annotations"] *= 2
    predicted["predictions"] = predicted.pop("annotations")
    page = [k(0), skipped, untouched, k(3, ()), twice, predicted, "?"]
    found, remarks = read(dump(tmp_path / "project.json", page))
    counts = {name: len(a.boxes) for name, a in found.items()}
    assert counts == {"k0.bmp": 1, "k3.bmp": 0, "k4.bmp": 1}
    assert [(r.where, r.kind) for r in remarks] == [
        ("task 4", "not used"),
        ("task 5", "not used"),
        ("[6]", "bad line"),
    ]
    page = [untouched | {"created_at": "2026-01-01", "predictions": []}]
    assert read(dump(tmp_path / "project.json", page)) == ({}, [])


def test_other_shapes_of_label_studio(tmp_path):
    image(tmp_path / "k0.bmp", 1000, 500)
    points = [[10, 20], [40, 90], [30, 5]]
    ellipse = {"x": 50, "y": 50, "radiusX": 2, "radiusY": 10, "rotation": 0}
    box = {"x": 10, "y": 10, "width": 20, "height": 20}
    values = [
        ("polygonlabels", {"points": points, "polygonlabels": ["crane"]}),
        ("ellipselabels", ellipse | {"ellipselabels": ["crane"]}),
        ("keypointlabels", {"x": 1, "y": 1, "width": 1, "keypointlabels": ["tip"]}),
        ("brushlabels", {"format": "rle", "rle": [1], "brushlabels": ["crane"]}),
        ("rectangle", box),
        ("labels", box | {"labels": ["lorry"]}),
        ("choices", {"choices": ["sunny"]}),
    ]
    size = {"original_width": 1000, "original_height": 500}
    results = [size | {"id": "a", "type": type_, "value": value} for type_, value in values]
    results[4]["id"] = results[5]["id"] = "b"
    page = [
        {"id": 1, "data": {"photo": "s3://bucket/k0.bmp"}, "annotations": [{"result": results}]}
    ]
    found, remarks = read(dump(tmp_path / "project.json", page))
    assert edges(found["k0.bmp"]) == [
        (100, 25, 400, 450),
        (480, 200, 520, 300),
        (100, 50, 300, 150),
    ]
    assert [box.label for box in found["k0.bmp"].boxes] == ["crane", "crane", "lorry"]
    assert [r.value for r in remarks] == [
        "shape without a box: keypointlabels",
        "shape without a box: brushlabels",
    ]


# The cases of others


@pytest.mark.parametrize(
    ("case", "count"), [("40-labelme-json", 5), ("43-via-csv", 4)], ids=["40", "43"]
)
def test_cases_of_others(shared, case, count):
    seen = survey(shared / "cases" / case)
    assert seen.unknown == []
    found = read_annotations(shared / "cases" / case)
    assert len(found) == count
    assert found[0].boxes == (Box("crane", 100, 80, 220, 190),)
    assert (found[0].width, found[0].height) == (640, 480)
