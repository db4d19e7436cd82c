"""The package's tables: YAML files next to the modules that they belong to."""

from functools import cache
from pathlib import Path

import yaml


@cache
def read_table(name: str) -> dict:
    """Return what a file of the package holds, such as "pipeline/fields.yaml"; read once."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return yaml.load(text, yaml.CSafeLoader)
