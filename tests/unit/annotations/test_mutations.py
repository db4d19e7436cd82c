"""Damaged files of every format end in remarks or one line, and never poison what is written."""

import tempfile
from pathlib import Path

import pytest
from bitmaps import image
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dataset_formats import FILES as DATASETS
from test_formats import FILES as TABLES
from test_rows import FILES

from helpers.annotations.formats import READERS, read_annotations, survey
from helpers.annotations.voc import read_voc, write_voc
from helpers.common.errors import CourseError

ALL = {**TABLES, **FILES, **DATASETS}
# What is likelier to find a weak spot than a random byte.
SPLINTERS = (
    *(
        b"nan",
        b"inf",
        b"1e400",
        b"-1",
        b"9" * 5000,
        b"null",
        b"true",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
    ),
    *(
        b"[",
        b"]",
        b"{" * 50,
        b"}",
        b'"',
        b"\\ud800",
        b"<",
        b">",
        b"&x;",
        b",",
        b";",
        b"\n",
        b"&a ",
        b"*a",
    ),
)


@st.composite
def damage(draw, data):
    """`data` with up to four cuts, repetitions, random bytes or splinters in it."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 20)))
        new = draw(st.sampled_from((b"", *SPLINTERS)) | st.binary(max_size=3))
        again = data[at:end] if draw(st.booleans()) else b""
        data = data[:at] + again + new + data[end:]
    return data


@pytest.mark.parametrize("kind", ALL)
@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_a_damaged_file_ends_in_remarks_or_one_line(kind, draw):
    name, text = ALL[kind]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        image(folder / "images/a.bmp")
        (folder / name).parent.mkdir(exist_ok=True)
        lists = b"nc: 2\nnames: [cat, dog]\n"
        if kind == "yolo" and draw.draw(st.booleans()):
            lists = draw.draw(damage(lists))
            (folder / name).write_text(text)
        else:
            (folder / name).write_bytes(draw.draw(damage(text.encode())))
        (folder / "data.yaml").write_bytes(lists)
        remarks = list(survey(folder).unknown)
        try:
            for found in read_annotations(folder, note=remarks.append):
                write_voc(found, folder / "out.xml", check=False)
                assert read_voc(folder / "out.xml").image == found.image
        except CourseError as error:
            remarks.append(error)
        for remark in remarks:
            assert "\n" not in str(remark)
            str(remark).encode()


def test_all_formats_of_this_module_are_damaged():
    elsewhere = {"cvat", "vott", "labelme", "label_studio", "via", "createml", "open_images"}
    assert set(ALL) == set(READERS) - elsewhere
