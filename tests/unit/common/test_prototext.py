import math
import random

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from hypothesis import given
from hypothesis import strategies as st

from helpers.common import prototext
from helpers.common.errors import CourseError


def values(text):
    """{name: value} of the leaves, without their lines."""
    return {leaf.path: leaf.value for leaf in prototext.leaves(prototext.parse(text))}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("- 1", -1),
        ("0", 0),
        ("017", 15),
        ("0x1F", 31),
        ("-0X1f", -31),
        ("1e-3", 0.001),
        ("1E+3", 1000.0),
        (".5f", 0.5),
        ("5.", 5.0),
        ("3F", 3.0),
        ("-.25", -0.25),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        ("true", True),
        ("False", False),
        ("SIGMOID", "SIGMOID"),
        ('"a b"', "a b"),
        ("'it''s'", "its"),
        ("\"it's\"\n  ' fine'", "it's fine"),
        (r'"\x41\102\n\"\'\\\u00e9\U0001F600"', "AB\n\"'\\é😀"),
        (r'"\303\251"', "é"),
        ('"# no comment"', "# no comment"),
    ],
)
def test_a_value_is_read_in_each_of_its_forms(text, value):
    read = values(f"a: {text}  # said\n")["a"]
    assert read == value
    assert type(read) is type(value) or isinstance(read, prototext.Enum)


def test_a_word_is_told_from_a_text():
    assert isinstance(values("a: CONV")["a"], prototext.Enum)
    assert not isinstance(values("a: 'CONV'")["a"], prototext.Enum)
    assert math.isnan(values("a: nan")["a"])


@pytest.mark.parametrize(
    "text",
    [
        "a { b: 1 c { d: 2 } }",
        "a: { b: 1; c: { d: 2, }; };",
        "a < b: 1, c < d: 2 > >",
        "a: < b: 1 c { d: 2 } >",
        "a{b:1 c{d:2}}",
        "# said\na { # said\n b: 1 # }\n c { d: 2 } }",
        "a: [ { b: 1 c { d: 2 } } ]",
        "a [ < b: 1 c { d: 2 } > ]",
        "a\n{\nb\n:\n1\nc\n{\nd\n:\n2\n}\n}",
    ],
)
def test_messages_may_be_written_in_many_ways(text):
    assert values(text) == {"a.b": 1, "a.c.d": 2}


def test_lists_and_repeated_fields_are_the_same():
    assert values("a: [1, 2] b: 'x' b: 'y' c: []") == {"a": [1, 2], "b": ["x", "y"]}
    assert values("a: 1 a: [2, 3]") == {"a": [1, 2, 3]}
    assert values("s { n: 1 } t: 2 s { n: 3 } s { }") == {
        "s[0].n": 1,
        "t": 2,
        "s[1].n": 3,
        "s[2]": {},
    }
    assert values("[a.b/c]: 1 [x.y] { z: 2 }") == {"[a.b/c]": 1, "[x.y].z": 2}
    assert values("") == values("# nothing\n") == {}


def test_leaves_know_their_lines_and_keep_their_order():
    text = "a: 1\nb {\n  c: 2\n  d {\n  }\n}\nx: 'l'\n   'm' a: 3\n"
    found = prototext.leaves(prototext.parse(text))
    assert [(leaf.path, leaf.line) for leaf in found] == [
        ("a", 1),
        ("b.c", 3),
        ("b.d", 4),
        ("x", 7),
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a {\n  b: 1\n", r"p:1:3: this '\{' is never closed; add '\}'"),
        ("a { b <\n }", r"p:2:2: '\}' does not fit here; before it comes '>'"),
        ("a: [1, 2", r"p:1:4: this '\[' is never closed; add '\]'"),
        ("a: 1\n}", r"p:2:1: '\}' closes nothing; delete it"),
        ("a {\n  b:\n}", r"p:3:1: '\}' does not fit here; before it comes .*a number"),
        ("a: [1, 2,]", r"p:1:10: '\]' does not fit here; before it comes .*a number"),
        ("a { b: 1 } ]", r"p:1:12: '\]' closes nothing; delete it"),
        ("a: 'x\nb: 1", r"p:1:4: this string does not end on its line; add the closing '"),
        ("a: \"x'\n", r"p:1:4: this string does not end"),
        ("a 1", r"p:1:3: '1' does not fit here; before it comes ':' or '\{'"),
        ("a:\n", r"p:2:1: the file ends too early; add .*a number"),
        ("a: 12px", r"p:1:4: '12px' is no number; write one such as"),
        ("a: 1.2.3", r"p:1:4: '1.2.3' is no number"),
        ("a: 089", r"p:1:4: 089: .* octal; drop the zero"),
        ("a: @", r"p:1:4: '@' means nothing here; delete it, or put the text in quotes"),
        (": 1", r"p:1:1: ':' does not fit here; before it comes a field name"),
        (
            "a: 'C:\\temp\\q'",
            r"p:1:4: .* an escape in it means nothing; write \\\\ for a backslash",
        ),
        ("a: '\\377'", r"p:1:4: .* an escape"),
        ("a: '\\UFFFFFFFF'", r"p:1:4: .* an escape"),
        ("a: [[1]]", r"p:1:5: '\[' does not fit here"),
        ("a { " * 101 + "}" * 101, r"more than 100 messages in one another"),
        (f"a: {'9' * 5000}", r"p:1:4: 9{36} …: no 64 bits hold this number"),
        (f"a: -0x{'f' * 5000}", r"p:1:4: -0xf{33} …: no 64 bits hold this number"),
        ("a: 18446744073709551616", "no 64 bits"),
        ("a: “x”", r"p:1:4: “ is no straight quote; write ' around the text"),
        ("a: 1\nb: two words\nc: 1", r"p:2: two words: several words are a text; .*: 'two words'"),
        ("<!DOCTYPE html>\n<html>a: 1</html>", r"p: a web page, .*; download the file itself"),
        ("\n <html lang='en'>", r"p: a web page"),
    ],
)
def test_a_fault_is_said_in_one_line_with_its_place(text, fault):
    with pytest.raises(CourseError, match=fault) as error:
        prototext.parse(text, "p")
    assert "\n" not in str(error.value)


def test_lines_are_those_of_an_editor():
    assert [leaf.line for leaf in prototext.leaves(prototext.parse("a: 1\r\nb: 2\r\n"))] == [1, 2]


def test_protobuf_itself_reads_the_same():
    """The messages of the table of forms above, by protobuf's own parser."""
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {"i": field.TYPE_INT64, "d": field.TYPE_DOUBLE, "s": field.TYPE_STRING}
    kinds |= {"b": field.TYPE_BOOL, "m": field.TYPE_MESSAGE}
    file = descriptor_pb2.FileDescriptorProto(name="a.proto", package="a", syntax="proto2")
    message = file.message_type.add(name="M")
    for number, (name, kind) in enumerate(kinds.items(), 1):
        added = message.field.add(name=name, number=number, type=kind, label=3)
        if name == "m":
            added.type_name = ".a.M"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    make = message_factory.GetMessageClass(pool.FindMessageTypeByName("a.M"))

    def read(message):
        return {
            name.name: [read(value) if name.name == "m" else value for value in values]
            for name, values in message.ListFields()
        }

    def ours(message):
        return {
            name: [ours(f.value) if isinstance(f.value, dict) else f.value for f in fields]
            for name, fields in message.items()
        }

    forms = {
        "i": ["1", "-1", "0", "017", "0x1F", "-0X1f"],
        "d": ["1", "1e-3", "1E+3", ".5f", "5.", "3F", "-.25", "inf", "-inf"],
        "s": ['"a b"', "'it''s'", "\"it's\"\n ' fine'", r'"\x41\102\n\"\'\\\u00e9"', r'"\303\251"'],
        "b": ["true", "false", "True", "False"],
    }
    marks, rng = ["", ",", ";", " # said\n", "\n"], random.Random(0)

    def write(depth):
        parts = []
        for name in rng.choices("idsbm", k=rng.randint(0, 4)):
            if name == "m":
                left, right = rng.choice(["{}", "<>"])
                inner = f"{left}{write(depth + 1) if depth < 4 else ''}{right}"
                value = rng.choice([inner, f"[{inner}, {inner}]"])
            else:
                one, two = rng.choices(forms[name], k=2)
                value = rng.choice([one, f"[{one}, {two}]"])
            colon = rng.choice([":", ""]) if name == "m" else ":"
            parts.append(f"{name}{colon} {value}{rng.choice(marks)} ")
        return "".join(parts)

    for _ in range(300):
        text = write(0)
        assert ours(prototext.parse(text)) == read(text_format.Parse(text, make())), text


NAMES = st.from_regex(r"[a-z_]{1,6}", fullmatch=True)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
MESSAGES = st.recursive(
    st.dictionaries(NAMES, SCALARS, max_size=3),
    lambda inner: st.dictionaries(NAMES, st.one_of(SCALARS, inner), max_size=3),
    max_leaves=12,
)


def written(message) -> str:
    """The message in text format, strings as octal bytes."""
    parts = []
    for name, value in message.items():
        if isinstance(value, dict):
            parts.append(f"{name} {{ {written(value)} }}")
        elif isinstance(value, str):
            octal = "".join(f"\\{byte:03o}" for byte in value.encode())
            parts.append(f'{name}: "{octal}"')
        else:
            parts.append(f"{name}: {str(value).lower()}")
    return "\n".join(parts)


def plain(message):
    return {
        name: plain(fields[0].value) if isinstance(fields[0].value, dict) else fields[0].value
        for name, fields in message.items()
    }


@given(MESSAGES)
def test_what_is_written_is_read(message):
    assert plain(prototext.parse(written(message))) == message


@given(st.text(alphabet="ab1 .:;,{}<>[]'\"\\#-\n/xf\u00e9", max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text):
    said = ""
    try:
        prototext.leaves(prototext.parse(text))
    except CourseError as error:
        said = str(error)
    assert "\n" not in said
