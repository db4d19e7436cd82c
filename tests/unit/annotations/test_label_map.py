"""A label map is read as it is meant, or refused with its line; never with a class fewer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.annotations.label_map import read_label_map, write_label_map
from helpers.common.errors import CourseError

TWO = "item {\n  id: 1\n  name: 'cat'\n}\nitem {\n  id: 2\n  name: 'dog'\n}\n"


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (TWO.replace("\n", "\r\n"), {"cat": 1, "dog": 2}),
        ("\ufeff" + TWO, {"cat": 1, "dog": 2}),
        (TWO.replace("id: 2", "id: 7"), {"cat": 1, "dog": 7}),
        (TWO.replace("'cat'", "'cat' # the cat's } and {"), {"cat": 1, "dog": 2}),
        (TWO.replace("'cat'", r"'caf\303\251 \'x\''"), {"café 'x'": 1, "dog": 2}),
        (TWO.replace("'cat'", "'cat', keypoints { id: 5 label: 'ear' }"), {"cat": 1, "dog": 2}),
        ("item < id: 3; name: 'a' 'b'; >", {"ab": 3}),
    ],
)
def test_what_protobuf_reads_is_read(tmp_path, text, labels):
    (tmp_path / "a.pbtxt").write_text(text, encoding="utf-8", newline="")
    assert read_label_map(tmp_path / "a.pbtxt") == labels


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("'cat'", "‘cat’", "pbtxt:3:9: ‘ is no straight quote"),
        ("'cat'", "cat", "line 3: name: cat: no quotes; write 'cat'"),
        ("'cat'", "big cat", "pbtxt:3: big cat: several words are a text"),
        ("'cat'", "'cat", "pbtxt:3:9: this string does not end on its line"),
        ("'cat'\n}", "'cat'\n", r"pbtxt:1:6: this '\{' is never closed"),
        ("id: 2\n  name: 'dog'\n}\n", "id: 2\n  na", r"this '\{' is never closed"),
        ("id: 1", "id 1", "pbtxt:2:6: '1' does not fit here"),
        ("id: 1", f"id: {'1' * 5000}", "pbtxt:2:7: 1{36} …"),
        ("id: 1", "id: 3000000000", "line 1: id 3000000000: no whole number up to 2147483647"),
        ("id: 1", "id: 1.5", "line 1: id 1.5: no whole number"),
        ("id: 1", "id: 0", "line 1: id 0; ids start at 1"),
        ("id: 2", "id: 1", "line 5: 'dog' 1 given twice"),
        ("id: 1", "id: 1 id: 2", "line 2: id given twice"),
        ("dog", " ", "line 5: no id or no name"),
        ("item {\n  id: 2", "items {\n  id: 2", "line 5: items: not in a label map"),
        (TWO, "cat\ndog\n", "pbtxt:2:1: 'dog' does not fit .*a label is written as item"),
        (TWO, "<html>item { id: 1 name: 'a' }", "a web page"),
    ],
)
def test_what_it_does_not_is_refused_with_its_line(tmp_path, before, after, says):
    assert before in TWO
    (tmp_path / "a.pbtxt").write_text(TWO.replace(before, after), encoding="utf-8")
    with pytest.raises(CourseError, match=says) as error:
        read_label_map(tmp_path / "a.pbtxt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("encoding", "says"), [("utf-16", "UTF-16; save"), ("latin-1", "line 3")])
def test_other_encodings_are_named(tmp_path, encoding, says):
    (tmp_path / "a.pbtxt").write_bytes(TWO.replace("cat", "café").encode(encoding))
    with pytest.raises(CourseError, match=says):
        read_label_map(tmp_path / "a.pbtxt")


def test_a_missing_one_is_told_from_one_of_another_name(tmp_path):
    path = tmp_path / "label_map.pbtxt"
    with pytest.raises(CourseError, match=r"label_map.pbtxt: missing; .*write one with"):
        read_label_map(path)
    (tmp_path / "tf_label_map.pbtxt").write_text(TWO)  # as VoTT calls it
    with pytest.raises(CourseError, match=r"missing; if tf_label_map.pbtxt beside it is"):
        read_label_map(path)
    path.mkdir()
    with pytest.raises(CourseError, match=r"label_map.pbtxt: a folder"):
        read_label_map(path)


def test_a_disk_that_is_full_leaves_the_old_one(tmp_path):
    write_label_map(["cat"], tmp_path / "a.pbtxt")
    with pytest.raises(UnicodeEncodeError):
        write_label_map(["dog", "\ud800"], tmp_path / "a.pbtxt")
    assert read_label_map(tmp_path / "a.pbtxt") == {"cat": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.pbtxt"]


@given(st.text(alphabet="item {}:'\"\\#\n<>[],;id1name23x‘", max_size=60))
def test_any_text_is_read_or_refused_in_one_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.pbtxt"
    path.write_text("item { id: 1 name: 'a' }" + text, encoding="utf-8")
    said = ""
    try:
        assert read_label_map(path)["a"] == 1
    except CourseError as error:
        said = str(error)
    assert "\n" not in said


def test_the_files_that_people_brought(shared):
    """Each of the reported files: what is right about it, and what is said."""
    folder = shared / "cases/55-label-maps"
    if not folder.is_dir():
        pytest.skip("the reported cases are not there")
    read = {
        "bom_crlf": {"house": 1},
        "comment_inline": {"a": 1},
        "gap": {"a": 1, "c": 3},
        "keypoints": {"person": 1},
        "roboflow": {"a": 1},
        "single_line": {"a": 1, "b": 2},
        "space_name": {"speed camera": 1},
    }
    for path in folder.iterdir():
        if path.stem in read:
            assert read_label_map(path) == read[path.stem]
        else:
            with pytest.raises(CourseError, match=path.name):
                read_label_map(path)
