"""YAML that people bring is read, or refused in one line and in no time."""

import pytest

from helpers.common.errors import CourseError
from helpers.common.yaml_files import read_yaml


def written(folder, text):
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_stands_there_is_read(tmp_path):
    text = "\ufeffnames: [ä, b]\nrate: 4.0e-3\nsame:\n  names: null\n"
    assert read_yaml(written(tmp_path, text)) == {
        "names": ["ä", "b"],
        "rate": 0.004,
        "same": {"names": None},
    }
    assert read_yaml(written(tmp_path, "")) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [1,\nb: 2", "line 2: not YAML"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: not YAML (the key 'c' stands twice)"),
        ("a: 2020-13-45", "line 1: not YAML ('2020-13-45' is no date or number)"),
        ("a: " + 5000 * "9", "is no date or number"),
        # A billion of them, as an alias of aliases of aliases.
        (
            "a: &a [x]\n" + "".join(f"{b}: &{b} [{9 * f'*{a},'}]\n" for a, b in ["ab", "bc", "cd"]),
            "line 2: not YAML (an alias; write its value out)",
        ),
        ("[" * 5000 + "]" * 5000, "not YAML (too many levels)"),
        ("!!python/object/apply:os.getcwd []", "line 1: not YAML (could not determine"),
        ("a: \x00", "line 1: a zero byte"),
        ("a: \x07", "not YAML"),
    ],
)
def test_what_is_no_plain_yaml_is_named_with_its_line(tmp_path, text, fault):
    with pytest.raises(CourseError) as error:
        read_yaml(written(tmp_path, text))
    assert fault in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'a.yaml'}: ")
    assert "\n" not in str(error.value)
