"""Protobuf's text format, read without the messages' definitions.

Label maps and `pipeline.config` files are written in it. The protos that define their fields are
in no package that installs today, so that the text is read for what it says, as nested dicts.

Source: the text format specification, https://protobuf.dev/reference/protobuf/textformat-spec/
"""

import math
import re
from functools import lru_cache
from typing import Any, NamedTuple

from helpers.common.errors import CourseError

# protobuf itself refuses deeper messages than this.
_DEEPEST = 100

_GRAMMAR = r"""
message: field*
field: name ":" _value ("," | ";")?
     | name (_braces | messages) ("," | ";")?
_value: scalar | list | _braces
_braces: "{" message "}" | "<" message ">"
name: NAME | EXTENSION
list: "[" [_item ("," _item)*] "]"
messages: "[" [_braces ("," _braces)*] "]"
_item: scalar | _braces
scalar: NUMBER -> number | NAME -> word | SIGNED -> word | STRING+ -> string

NAME: /[A-Za-z_][A-Za-z0-9_]*/
EXTENSION: /\[\s*[A-Za-z_][\w.\/-]*\s*\](?=\s*[:{<])/
SIGNED: /-\s*[A-Za-z_]+/
NUMBER: /(-\s*)?(0[xX][0-9a-fA-F]+|([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[fF]?)(?![\w.])/
STRING: /"(\\.|[^"\\\n])*"|'(\\.|[^'\\\n])*'/
COMMENT: /#[^\n]*/
%import common.WS
%ignore WS
%ignore COMMENT
"""

# How a reader would call what the grammar calls by these names.
_WORDS = {
    "NAME": "a field name",
    "NUMBER": "a number",
    "STRING": "a string",
    "COLON": "':'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "MORETHAN": "'>'",
    "RSQB": "']'",
    "COMMA": "','",
}

_ESCAPE = re.compile(
    rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_LETTERS = dict(zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True))


class Field(NamedTuple):
    """A value with the line it stands on: number, str, bool, Enum, or a message (a dict)."""

    value: Any
    line: int


class Enum(str):
    """A bare word, such as SIGMOID; a quoted "SIGMOID" is a plain str."""


class Leaf(NamedTuple):
    """A field that holds no other: its dotted path, its first line, its value.

    A scalar that is given more than once is one leaf with a list; an empty message is a leaf
    with the value {}.
    """

    path: str
    line: int
    value: Any


def parse(text: str, name: str = "text") -> dict[str, list[Field]]:
    """Read text format: {field name: [Field, …]}, a message being such a dict again.

    Raises CourseError, "name:line:column: …", for text that is not in this format, `name` being
    what its file is called. One that is a web page is what a browser saves of a file on GitHub.
    """
    import lark

    if re.match(r"\s*<(!doctype|html|\?xml|head|body)", text, re.IGNORECASE):
        raise CourseError(
            f"{name}: a web page, not the file that it shows; download the file itself (on "
            "GitHub: the button Raw)"
        )
    try:
        tree = _parser().parse(text)
    except lark.UnexpectedInput as error:
        raise CourseError(_say(error, text, name)) from None
    return _message(tree, name, 1)


def leaves(message: dict[str, list[Field]], prefix: str = "") -> list[Leaf]:
    """All leaves of a message in the order of the file.

    A message given several times is numbered: `schedule[0].step`, `schedule[1].step`.
    """
    found = []
    for name, fields in message.items():
        path = f"{prefix}{name}"
        scalars = [field for field in fields if not isinstance(field.value, dict)]
        if scalars:
            values = [field.value for field in scalars]
            several = len(values) > 1
            found.append(Leaf(path, scalars[0].line, values if several else values[0]))
        messages = [field for field in fields if isinstance(field.value, dict)]
        for index, field in enumerate(messages):
            place = f"{path}[{index}]" if len(messages) > 1 else path
            inner = leaves(field.value, f"{place}.")
            found.extend(inner or [Leaf(place, field.line, {})])
    return sorted(found, key=lambda leaf: leaf.line)


@lru_cache(maxsize=1)
def _parser():
    # Not at the top: lark takes as long to import as all else here.
    import lark

    return lark.Lark(_GRAMMAR, parser="lalr", start="message", propagate_positions=True)


def _message(tree, name: str, depth: int) -> dict[str, list[Field]]:
    message: dict[str, list[Field]] = {}
    for field in tree.children:
        key, *values = field.children
        token = key.children[0]
        if depth > _DEEPEST:
            raise CourseError(
                f"{name}:{token.line}:{token.column}: more than {_DEEPEST} messages in one "
                "another; close some of their braces earlier"
            )
        # An empty list is no value at all, as in protobuf.
        items = message.setdefault(str(token).replace(" ", ""), [])
        for value in values:
            group = value.data in ("list", "messages")
            for item in value.children if group else [value]:
                if item is not None:
                    line = token.line if item.data == "message" else item.meta.line
                    items.append(Field(_convert(item, name, depth), line))
        if not items:
            del message[str(token).replace(" ", "")]
    return message


def _convert(tree, name: str, depth: int):
    if tree.data == "message":
        return _message(tree, name, depth + 1)
    if tree.data == "string":
        return "".join(_unescape(token, name) for token in tree.children)
    text = "".join(tree.children[0].split())
    return _number(text, tree.children[0], name) if tree.data == "number" else _word(text)


def _word(text: str):
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    if text.lstrip("-").lower() in ("inf", "infinity", "nan"):
        return float(text)
    return Enum(text)


def _number(text: str, token, name: str) -> int | float:
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    place = f"{name}:{token.line}:{token.column}"
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
    if base != 16 and not digits.isdigit():
        return sign * float(digits.rstrip("fF"))
    if base == 8 and not re.fullmatch("[0-7]+", digits):
        raise CourseError(
            f"{place}: {_short(text)}: a number that starts with 0 is octal; drop the zero"
        )
    # Python takes quadratic time for thousands of digits, and then refuses.
    number = sign * int(digits, base) if len(digits) < 100 else 2**64
    if not -(2**63) <= number < 2**64:
        raise CourseError(f"{place}: {_short(text)}: no 64 bits hold this number; correct it")
    return number


def _unescape(token, name: str) -> str:
    def replace(match: re.Match) -> bytes:
        octal, hexadecimal, short, long, letter = match.groups()
        if octal or hexadecimal:
            return bytes([int(octal, 8) & 255 if octal else int(hexadecimal, 16)])
        if short or long:
            return chr(int(short or long, 16)).encode()
        return bytes([_LETTERS[letter[0]]])

    try:
        return _ESCAPE.sub(replace, token[1:-1].encode()).decode()
    except (KeyError, ValueError, OverflowError):
        raise CourseError(
            f"{name}:{token.line}:{token.column}: {_short(token)}: an escape in it means nothing; "
            "write \\\\ for a backslash"
        ) from None


def _say(error, text: str, name: str) -> str:
    import lark

    if isinstance(error, lark.UnexpectedCharacters):
        place, char = f"{name}:{error.line}:{error.column}", error.char
        if char in "\"'":
            return f"{place}: this string does not end on its line; add the closing {char}"
        if char in "‘’‚‛“”„‟«»`´":
            return f"{place}: {char} is no straight quote; write ' around the text"
        word = re.match(r"[^\s{}<>\[\]:;,#]+", text[error.pos_in_stream :])
        if word and re.match(r"[-+.\d]", word[0]):
            return f"{place}: {_short(word[0])!r} is no number; write one such as 0.004, 4e-3 or 12"
        return f"{place}: {char!r} means nothing here; delete it, or put the text in quotes"
    token = error.token
    expected = sorted(_WORDS[kind] for kind in error.expected if kind in _WORDS)
    if token.type == "$END":
        brace = _unclosed(text)
        if brace is None:
            line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
            return f"{name}:{line}:{column}: the file ends too early; add {' or '.join(expected)}"
        line, column, char = brace
        closing = {"{": "}", "<": ">", "[": "]"}[char]
        return f"{name}:{line}:{column}: this {char!r} is never closed; add {closing!r}"
    place = f"{name}:{token.line}:{token.column}"
    if bare := re.search(r":[ \t]*([A-Za-z]\w*([ \t]+\w+)+)\s*$", text[: token.start_pos]):
        place = f"{name}:{text.count(chr(10), 0, bare.start(1)) + 1}"
        words = _short(bare[1])
        return f"{place}: {words}: several words are a text; write quotes around: '{words}'"
    if token in ("}", ">", "]") and _unclosed(text[: token.start_pos]) is None:
        return f"{place}: {str(token)!r} closes nothing; delete it, or add what it closes"
    return f"{place}: {_short(token)!r} does not fit here; before it comes {' or '.join(expected)}"


def _short(text: str) -> str:
    return str(text) if len(text) < 40 else f"{text[:36]} …"


def _unclosed(text: str) -> tuple[int, int, str] | None:
    """Line, column and kind of the innermost brace that is still open at the end."""
    stack = []
    for token in _parser().lex(text):
        if token in ("{", "<", "["):
            stack.append((token.line, token.column, str(token)))
        elif token in ("}", ">", "]") and stack:
            stack.pop()
    return stack[-1] if stack else None


def show(value) -> str:
    """A value in one short line, as the file would write it."""
    if isinstance(value, dict) or value is None:
        return "none" if value is None else "{}"
    if isinstance(value, list):
        return f"[{', '.join(show(item) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.7g}"
    return str(value)
