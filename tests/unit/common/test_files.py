"""Files that are there whole or not at all; few items of many."""

import os

import pytest

from helpers.common.errors import CourseError
from helpers.common.files import read_csv, read_xml, whole_file, write_csv, write_json, write_text
from helpers.common.sampling import evenly


def test_a_file_appears_under_its_name_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "Größe.npz"
    with whole_file(path) as draft:
        assert (draft.parent, draft.suffix) == (path.parent, ".npz")
        draft.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_no_draft(tmp_path, error):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail():
        with whole_file(path) as draft:
            draft.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_table_is_written_whole(tmp_path):
    path = tmp_path / "rows.csv"
    write_csv(path, ("a", "b"), [{"a": 1, "b": "x, y"}])
    assert path.read_bytes() == b'a,b\n1,"x, y"\n'
    assert read_csv(path, ("a", "b")) == [{"a": "1", "b": "x, y"}]
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_csv(path, ("a",), [{"a": 2}, {"c": 3}])
    assert read_csv(path, ("a",))[0]["a"] == "1"
    with pytest.raises(CourseError, match=r"rows.csv: no column 'c'; its columns must be"):
        read_csv(path, ("c",))
    with pytest.raises(CourseError, match=r"none.csv: missing; run the lesson"):
        read_csv(tmp_path / "none.csv", ())


def test_json_and_line_ends_are_as_given(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    assert (tmp_path / "a.json").read_bytes() == b'{\n "a": 1\n}\n'
    write_text(tmp_path / "a.txt", "1\r\n2\n")
    assert (tmp_path / "a.txt").read_bytes() == b"1\r\n2\n"


@pytest.mark.parametrize(
    ("most", "expected"),
    [(None, list(range(11))), (20, list(range(11))), (3, [0, 5, 10]), (1, [0]), (0, [])],
)
def test_a_few_of_many_are_spread_evenly(most, expected):
    assert evenly(range(11), most) == expected
    assert evenly(iter(range(11)), most) == expected


def test_without_the_ends_they_lie_inside():
    assert evenly(range(11), 1, ends=False) == [5]
    assert evenly(range(11), 4, ends=False) == [2, 4, 6, 8]
    assert evenly([], 3) == evenly([], 3, ends=False) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a>", "broken XML"),
        ("", "broken XML"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "broken XML"),
    ],
)
def test_xml_that_is_none_or_declares_entities_is_refused(tmp_path, text, message):
    file = tmp_path / "a.xml"
    file.write_text(text)
    with pytest.raises(CourseError, match=rf"a\.xml: {message} .*; export it again"):
        read_xml(file)
    with pytest.raises(CourseError, match=r"b\.xml: missing"):
        read_xml(tmp_path / "b.xml")


def test_xml_is_read_in_the_encoding_that_it_states(tmp_path):
    file = tmp_path / "a.xml"
    file.write_bytes("<?xml version='1.0' encoding='ISO-8859-1'?><a>ü</a>".encode("latin-1"))
    assert read_xml(file).text == "ü"
