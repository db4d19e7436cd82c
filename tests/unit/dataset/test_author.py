"""The split that came with the pictures."""

import pytest

from helpers.common.errors import CourseError
from helpers.dataset.author import in_words, left_out, read_author_split, usual_split


def table(folder, text, name="split.csv"):
    (folder / name).write_text(text)
    return folder / name


def test_it_is_the_default_where_there_is_one(tmp_path):
    assert usual_split(tmp_path) == "clip"
    table(tmp_path, "image,split\na.jpg,train\nb.jpg,val\n", "author_split.csv")
    assert usual_split(tmp_path) == "author"  # a folder that an earlier course made
    assert read_author_split(tmp_path) == {"a.jpg": "train", "b.jpg": "val"}
    table(tmp_path, "image,split\na.jpg,val\nb.jpg,train\n")
    assert read_author_split(tmp_path) == {"a.jpg": "val", "b.jpg": "train"}


def test_three_sides_are_kept_and_of_two_the_other_one_is_val(tmp_path):
    path = table(tmp_path, "image,split\na.jpg,Train\nb.jpg,test\nc.jpg,val\n")
    three = {"a.jpg": "train", "b.jpg": "test", "c.jpg": "val"}
    assert read_author_split(path) == three
    assert in_words(three, ["a.jpg", "b.jpg", "c.jpg"]) == (
        'The author\'s split is kept: 1 train, 1 val, 1 test. split = "clip" would draw anew.'
    )
    path = table(tmp_path, "image,split\na.jpg,train\nb.jpg,test\n")
    assert read_author_split(path) == {"a.jpg": "train", "b.jpg": "val"}


def test_images_that_it_leaves_out_are_counted(tmp_path):
    table(tmp_path, "image,split\na.jpg,train\n")
    author, images = read_author_split(tmp_path), ["a.jpg", "b.jpg", "c.jpg"]
    assert "2 images are on no side of it and stay out" in in_words(author, images)
    [found] = left_out(author, images, tmp_path)
    assert found.value == "2 of 3 images are not in split.csv, such as b.jpg"
    with pytest.raises(CourseError, match=r"none of its 1 images is here: it says a.jpg, .*x.jpg"):
        left_out(author, ["x.jpg"], tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,split\na.jpg,held\n", "line 2: split 'held'; write train, val, test"),
        ("image;split\na.jpg;val\n", "no column 'image'"),
        ("image,split\na.jpg,val\nb.jpg,train\na.jpg,train\n", "line 4: a.jpg is in val, too"),
        ("", "no column 'image'"),
        ("image,split\na\0.jpg,val\n", "line 2: a zero byte"),
        ("image,split\na.jpg,val,train\n", "line 2: not 2 cells"),
        ('image,split\n"a.jpg,val\n', "no CSV"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, says):
    with pytest.raises(CourseError, match=says):
        read_author_split(table(tmp_path, text))


@pytest.mark.parametrize("data", ["é".encode("latin-1"), "image,split".encode("utf-16")])
def test_tables_in_other_encodings(tmp_path, data):
    (tmp_path / "split.csv").write_bytes(data)
    with pytest.raises(CourseError, match="save it as UTF-8"):
        read_author_split(tmp_path)


def test_none(tmp_path):
    with pytest.raises(CourseError, match="no author's split"):
        read_author_split(tmp_path / "none.csv")
