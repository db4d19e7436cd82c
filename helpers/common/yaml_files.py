"""YAML that people write or bring: plain data, each key once, and read in bounded time."""

from functools import cache
from pathlib import Path
from typing import Any

from helpers.common.errors import CourseError
from helpers.common.files import read_text


def read_yaml(path: Path | str, *, words: bool = False) -> Any:
    """What a YAML file holds: dicts, lists, texts, numbers, dates.

    With `words` every scalar is a text: a class may be called "no" or "1".

    Raises:
        CourseError: as `read_text`; no YAML; a key that stands twice; an alias (a few lines of
            them can hold billions of values); thousands of levels; a date or number that is none.
    """
    import yaml

    text = read_text(path)
    try:
        return yaml.load(text, _strict_loader(words))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark else ""
        raise CourseError(f"{path}: {place}not YAML ({error.problem}); correct that line") from None
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise CourseError(f"{path}: not YAML ({line}); correct it") from None
    except RecursionError:
        raise CourseError(f"{path}: not YAML (too many levels); write it plainly") from None


@cache
def _strict_loader(words: bool) -> type:
    import yaml
    from yaml.constructor import ConstructorError

    class Loader(yaml.BaseLoader if words else yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark
                raise ConstructorError(None, None, "an alias; write its value out", mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node, deep=False):
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            seen = set()
            for key in keys:
                if key.value in seen:
                    fault = f"the key {key.value!r} stands twice"
                    raise ConstructorError(None, None, fault, key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

        def construct_object(self, node, deep=False):
            try:
                return super().construct_object(node, deep)
            except ValueError:  # a date that is none, a number of thousands of digits
                fault = f"{str(node.value)[:40]!r} is no date or number"
                raise ConstructorError(None, None, fault, node.start_mark) from None

    return Loader
