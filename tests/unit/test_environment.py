"""One environment, described in five places: they must agree."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers import doctor

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements", "requirements-beam")
LOCK = (ROOT / "requirements.txt").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()

PLATFORMS = {
    "Linux x86_64": {"sys_platform": "linux", "platform_machine": "x86_64", "os_name": "posix"},
    "Linux arm64": {"sys_platform": "linux", "platform_machine": "aarch64", "os_name": "posix"},
    "macOS arm64": {"sys_platform": "darwin", "platform_machine": "arm64", "os_name": "posix"},
}
PYTHONS = ("3.11.7", "3.12.1", "3.13.0")


def wanted(name: str = "requirements") -> dict[str, tuple[Requirement, str]]:
    """{name: (requirement, reason)} of requirements.in, or of that of another environment."""
    found = {}
    for line in (ROOT / f"{name}.in").read_text().splitlines():
        text, _, reason = line.partition("#")
        if text.strip():
            requirement = Requirement(text.strip())
            found[canonicalize_name(requirement.name)] = (requirement, reason.strip())
    return found


def locked(
    python: str = PYTHONS[0], platform: str = "Linux x86_64", lock: str = "requirements"
) -> dict[str, str]:
    version = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    return doctor.read_lock(ROOT / f"{lock}.txt", {**PLATFORMS[platform], **version})


@pytest.mark.parametrize(
    ("lock", "name"), [(lock, name) for lock in LOCKS for name in wanted(lock)]
)
def test_every_requirement_has_a_reason(lock, name):
    assert len(wanted(lock)[name][1].split()) >= 3


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_answers_requirements_in(python, platform, lock):
    versions = locked(python, platform, lock)
    for name, (requirement, _) in wanted(lock).items():
        assert name in versions
        assert requirement.specifier.contains(versions[name]), name


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_was_made_from_this_requirements_in(lock):
    asked_for = {
        canonicalize_name(line.split("==")[0])
        for line in (ROOT / f"{lock}.txt").read_text().splitlines()
        if re.search(rf"# via .*-r {lock}\.in", line)
    }
    assert asked_for == set(wanted(lock))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_of_the_lock_is_one_exact_version(lock):
    text = (ROOT / f"{lock}.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.match(r"[a-z0-9-]+==[\w.]+ ", line) for line in lines)
    names = [line.split("==")[0] for line in lines]
    assert len(names) == len(set(names)), "two versions of a package: Pythons would differ"


def test_beam_has_no_tensorflow_and_the_same_checksums_and_parser():
    beam, course = locked(lock="requirements-beam"), locked()
    assert not {"tensorflow", "tf-keras", "opencv-python-headless"} & set(beam)
    assert all(beam[name] == course[name] for name in ("google-crc32c", "defusedxml"))


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_lock_brings_one_opencv_and_no_cuda(platform):
    names = locked(platform=platform)
    assert [name for name in names if name.startswith("opencv")] == ["opencv-python-headless"]
    assert [name for name in names if re.match("nvidia|cuda|torch|triton", name)] == []


def test_the_header_of_each_lock_is_the_command_of_make_lock():
    commands = [" ".join(line.split()) for line in make("-n", "lock").stdout.splitlines()]
    headers = [(ROOT / f"{lock}.txt").read_text().splitlines()[1] for lock in LOCKS]
    assert headers == ["#    " + command.replace(" --quiet", "") for command in commands]


def imported(folder: str) -> set[str]:
    """Top-level modules that the Python files and notebooks of `folder` import."""
    sources = [path.read_text() for path in (ROOT / folder).rglob("*.py")]
    for path in (ROOT / folder).glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        sources += [re.sub(r"(?m)^\s*[%!].*$", "", text) for text in code]
    modules = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                modules |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.partition(".")[0])
    return modules


@pytest.mark.parametrize("folder", ["helpers", "notebooks", "tests"])
def test_what_is_imported_is_named_in_requirements_in(folder):
    """A package that only came along with another goes away when that other one changes."""
    ours = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"helpers", "tests", "pip"}
    named = set().union(*map(modules_of, wanted()))
    named |= {name.replace("-", "_") for name in wanted("requirements-beam")}
    assert imported(folder) - set(sys.stdlib_module_names) - ours - named == set()


@cache
def modules_of(name: str) -> set[str]:
    """Top-level modules of a distribution; `packages_distributions` asks all of them: 48 s."""
    with suppress(PackageNotFoundError):  # on another platform
        found = distribution(name)
        if text := found.read_text("top_level.txt"):
            return set(text.split())
        tops = (line.partition("/")[0] for line in (found.read_text("RECORD") or "").splitlines())
        return {top.partition(",")[0].removesuffix(".py") for top in tops}
    return set()


def test_environment_yml_is_python_pip_and_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "conda-forge" in environment["channels"]
    python, pip, packages = environment["dependencies"]
    assert (python, pip) == ("python>=3.11,<3.14", "pip")
    assert packages == {"pip": ["-r requirements.txt", "--editable ."]}


def test_the_python_range_is_the_same_everywhere():
    assert 'requires-python = ">=3.11,<3.14"' in (ROOT / "pyproject.toml").read_text()
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in MAKEFILE
    for minor, ok in ((10, False), (11, True), (13, True), (14, False)):
        assert doctor.python_version((3, minor)).ok is ok
    (image,) = re.findall(r"^FROM python:3\.(\d+)\.\d+-slim", DOCKERFILE, re.MULTILINE)
    assert doctor.python_version((3, int(image))).ok


def test_the_image_installs_the_lock_and_runs_as_a_user():
    assert re.search(r"pip install .*--requirement requirements\.txt", DOCKERFILE)
    assert DOCKERFILE.index("USER 1000") < DOCKERFILE.index("pip install")
    assert "HEALTHCHECK" in DOCKERFILE
    pins = re.search(r"^PINS = (.*)$", MAKEFILE, re.MULTILINE).group(1).replace("\\#", "#")
    pins = pins.replace("$(LOCK)", "requirements.txt")
    assert f"{pins} > .venv/ready" in DOCKERFILE, "make would set up again inside the image"
    assert "token=''" not in DOCKERFILE
    assert {".git", ".venv", "runs"} <= set((ROOT / ".dockerignore").read_text().split())


def test_ci_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert text.rstrip().endswith("make test")


def make(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    # Without the flags and variables of a `make test` that runs this test.
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHON", "PROFILE", "DATASET", "WORKSPACE")
    outer += ("FROM", "ONLY", "SPLIT")
    clean = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
    )


def test_make_help_lists_every_target():
    targets = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE).group(1).split()
    listed = re.findall(r"^make (\w+)", make("help").stdout, re.MULTILINE)
    assert sorted(listed) == sorted(set(targets) - {"help"})
    assert make().stdout == make("help").stdout


def test_make_course_passes_only_what_was_chosen():
    assert make("-n", "course").stdout.rstrip().endswith("-m helpers.course run")
    chosen = ["PROFILE=smoke", "DATASET=my own/cats", "WORKSPACE=runs/x", "FROM=03", "ONLY=06"]
    last = make("-n", "course", *chosen, "SPLIT=frame").stdout.rstrip().splitlines()[-1]
    assert " ".join(last.split("helpers.course run ")[1].split()) == (
        '--profile "smoke" --dataset "my own/cats" --workspace "runs/x" '
        '--from "03" --only "06" --split "frame"'
    )


@pytest.fixture
def checkout(tmp_path):
    """What setting up reads, with a lock that needs no download."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "helpers").mkdir()
    for name in ("__init__.py", "doctor.py"):
        shutil.copy(ROOT / "helpers" / name, tmp_path / "helpers" / name)
    for lock in LOCKS:
        (tmp_path / f"{lock}.txt").write_text("# nothing\n")
    return tmp_path


@pytest.fixture
def fake_python(tmp_path):
    """A stand-in for Python: knows `-c`, makes a .venv of itself, logs each command it gets."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "python3.12"
    script.write_text(
        "#!/bin/bash\n"
        'if [ "$*" = "--version" ]; then echo "Python 3.12.1"; exit; fi\n'
        f'echo "$*" >> {tmp_path}/log\n'
        'case "$*" in\n'
        f'  *"venv --clear"*) rm -rf "$4"; mkdir -p "$4/bin"; cp "$0" "$4/bin/python";;\n'
        f'  *"pip install"*) [ ! -e {tmp_path}/offline ];;\n'
        "esac\n"
    )
    script.chmod(0o755)
    return script


def log(folder: Path) -> str:
    path = folder / "log"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return text


def test_setup_is_announced_and_not_repeated(checkout, fake_python):
    first = make("setup", f"PYTHON={fake_python}", folder=checkout)
    assert first.returncode == 0, first.stderr
    assert "1.1 GB to download" in first.stdout
    assert log(checkout).index("--before-setup") > 0
    second = make("setup", f"PYTHON={fake_python}", folder=checkout)
    assert (second.returncode, second.stdout) == (0, "")
    assert "pip install" not in log(checkout)


def test_beam_is_set_up_beside_and_by_a_lock_of_its_own(checkout, fake_python):
    first = make("beam", f"PYTHON={fake_python}", folder=checkout)
    assert first.returncode == 0, first.stderr
    assert re.search(r"Setting up \.venv-beam .*: about \d+ MB to download", first.stdout)
    commands = log(checkout)
    assert "-r requirements-beam.txt" in commands
    assert "--editable ." in commands
    assert not (checkout / ".venv").exists()
    (checkout / "requirements.txt").write_text("numpy==2.4.6  # via matplotlib\n")
    assert make("beam", folder=checkout).stdout == ""
    (checkout / "requirements-beam.txt").write_text("pillow==12.3.0  # via apache-beam\n")
    assert "Set up." in make("beam", f"PYTHON={fake_python}", folder=checkout).stdout
    (checkout / ".venv-beam/ready").unlink()
    assert "Set up." in make("beam", f"PYTHON={fake_python}", folder=checkout).stdout
    make("clean", folder=checkout)
    assert not (checkout / ".venv-beam").exists()


def test_setup_is_repeated_when_the_lock_changed(checkout, fake_python):
    make("setup", f"PYTHON={fake_python}", folder=checkout)
    log(checkout)
    os.utime(checkout / "requirements.txt")  # only touched: nothing to do
    make("setup", f"PYTHON={fake_python}", folder=checkout)
    assert "pip install" not in log(checkout)
    (checkout / "requirements.txt").write_text("# another comment\n")
    make("setup", f"PYTHON={fake_python}", folder=checkout)
    assert "pip install" not in log(checkout)
    (checkout / "requirements.txt").write_text("numpy==2.4.6  # via matplotlib\n")
    make("setup", f"PYTHON={fake_python}", folder=checkout)
    assert "pip install" in log(checkout)


def test_setup_is_repeated_for_another_python(checkout, fake_python):
    make("setup", f"PYTHON={fake_python}", folder=checkout)
    log(checkout)
    other = fake_python.with_name("python3.13")
    other.write_text(fake_python.read_text().replace("3.12.1", "3.13.0"))
    other.chmod(0o755)
    make("setup", f"PYTHON={other}", folder=checkout)
    assert "venv --clear" in log(checkout)
    make("setup", folder=checkout)  # nobody asked for another: kept
    assert log(checkout).strip() == "-c"


def test_the_lab_lets_root_in_and_its_terminals_keep_the_path(checkout, fake_python):
    done = make("lab", f"PYTHON={fake_python}", folder=checkout, SHELL="/bin/zsh")
    assert done.returncode == 0, done.stderr
    command = log(checkout).splitlines()[-1]
    assert command.startswith("-m jupyterlab ")
    assert ("--allow-root" in command) == (os.geteuid() == 0)
    assert "terminado_settings=shell_command=['/bin/zsh'] " in command
    recipe = make("-n", "lab").stdout
    assert f'PATH="{ROOT}/.venv/bin:$PATH" exec .venv/bin/python -m jupyterlab' in recipe


def test_the_image_opens_the_lab_as_make_does():
    for option in re.findall(r"--(?:LanguageServer|FileContents)\S+", MAKEFILE):
        assert f'"--{option[2:]}"' in DOCKERFILE


def test_a_setup_that_failed_starts_over(checkout, fake_python):
    (checkout / "offline").touch()
    failed = make("course", f"PYTHON={fake_python}", folder=checkout)
    assert failed.returncode != 0
    assert "helpers.course" not in log(checkout)
    assert not (checkout / ".venv" / "ready").exists()
    (checkout / "offline").unlink()
    done = make("course", f"PYTHON={fake_python}", folder=checkout)
    assert done.returncode == 0, done.stderr
    commands = log(checkout)
    assert "venv --clear" in commands
    assert commands.rstrip().endswith("-m helpers.course run")


def test_no_suitable_python_is_one_line_with_the_fix(checkout):
    failed = make("course", "PYTHON=/nowhere/python3", folder=checkout)
    assert failed.returncode != 0
    said = [line for line in failed.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert "No Python 3.11, 3.12 or 3.13" in said[0]
    assert "make course PYTHON=" in said[0]
    assert not (checkout / ".venv").exists()
