"""The house: which package may import which, and that no imports go in a circle."""

import ast
import json
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# From the ground up: a package imports only from rows above its own, and from itself.
ROWS = (
    {"common"},
    {"annotations"},
    {"footage", "dataset", "models", "records"},  # these never import one another
    {"inference"},
    {"evaluation"},
    {"training"},
    {"plots"},
    {"course"},
)
ROW = {package: number for number, row in enumerate(ROWS) for package in row}
# One line each: commands under the names they were published by.
COMMANDS = {"scale", "beam_records", "pipeline_config"}
# A lesson imports its own package, plots, course, and at most two others.
OWN = {
    "00": {"inference"},
    "01": {"footage"},
    "02": {"footage"},
    "03": {"dataset"},
    "04": {"records"},
    "05": {"models"},
    "06": {"training"},
    "07": {"training"},
    "08": {"evaluation"},
    "11": {"inference"},
    "12": {"training", "records"},
}


def imported(source: str) -> set[str]:
    """Names under `helpers` that some Python imports, anywhere in it: "common.files", "plots"."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name[8:] for a in node.names if a.name.startswith("helpers.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers"):
            found |= {f"{node.module}.{a.name}"[8:] for a in node.names}
    return found


def modules(root: Path) -> dict[str, str]:
    """Dotted name under `helpers` -> source, of every module but the packages' own."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): path.read_text()
        for path in sorted(root.rglob("*.py"))
        if path.stem != "__init__"
    }


def home(name: str, known: set[str]) -> str:
    """The module that `name` is, or lies in; else its package."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def edges(sources: dict[str, str]) -> dict[str, set[str]]:
    return {
        module: {found for name in imported(source) if (found := home(name, {*sources}))} - {module}
        for module, source in sources.items()
    }


def trespasses(sources: dict[str, str]) -> list[str]:
    """Each import that goes upwards or sideways."""
    found = []
    for module, source in sources.items():
        own = module.partition(".")[0]
        if own in COMMANDS:
            continue
        for name in sorted(imported(source)):
            other = name.partition(".")[0]
            if own == "doctor" or (other != own and ROW.get(other, 99) >= ROW[own]):
                found.append(f"{module} imports {name}")
    return found


SOURCES = modules(ROOT / "helpers")


def test_every_package_has_its_place():
    packages = {path.parent.name for path in (ROOT / "helpers").glob("*/__init__.py")}
    assert packages == set(ROW)
    assert {name for name in SOURCES if "." not in name} == {"doctor", *COMMANDS}


def test_imports_go_down_only():
    assert trespasses(SOURCES) == []


def test_no_imports_go_in_a_circle():
    list(TopologicalSorter(edges(SOURCES)).static_order())


def test_the_tests_see_a_trespass_and_a_circle():
    odd = {
        "common.a": "def f():\n    from helpers.plots import images",
        "footage.b": "from helpers import records",
        "dataset.c": "import helpers.dataset.d",
        "dataset.d": "from helpers.dataset.c import x",
    }
    assert trespasses(odd) == [
        "common.a imports plots.images",
        "footage.b imports records",
    ]
    with pytest.raises(CycleError):
        list(TopologicalSorter(edges(odd)).static_order())


@pytest.mark.parametrize("name", SOURCES)
def test_a_command_is_a_shim(name):
    if name in COMMANDS:
        assert len(SOURCES[name].splitlines()) <= 25


def cells(path: Path) -> str:
    page = json.loads(path.read_text())
    return "\n".join("".join(c["source"]) for c in page["cells"] if c["cell_type"] == "code")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_lesson_imports_its_own_package_and_at_most_two_others(path):
    names = imported(cells(path))
    packages = {name.partition(".")[0] for name in names}
    others = packages - OWN[path.stem[:2]] - {"plots", "course"}
    assert packages & OWN[path.stem[:2]]
    assert len(others) <= 2, others
    # From the packages, not from the modules in them: these may move.
    assert not [name for name in names if name.count(".") > 1]
    assert " as " not in "".join(line for line in cells(path).splitlines() if "helpers" in line)


def test_packages_offer_what_they_say():
    import importlib

    for package in ROW:
        module = importlib.import_module(f"helpers.{package}")
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"helpers.{package}.{name}"
            # Once imported, a module of that name would hide it.
            assert f"{package}.{name}" not in SOURCES
            assert not (ROOT / "helpers" / package / name).is_dir()
