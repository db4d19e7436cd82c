"""The doctor: each check with a planted fault, and the fix that it then names."""

import ast
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers import doctor
from helpers.doctor import Check

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("version", "ok"), [((3, 11), True), ((3, 13), True), ((3, 14), False)])
def test_python_version(version, ok):
    check = doctor.python_version(version)
    assert check.ok is ok
    assert bool(check.fix) is not ok


def test_an_old_python_can_run_the_first_checks():
    source = (ROOT / "helpers" / "doctor.py").read_text()
    ast.parse(source, feature_version=(3, 8))
    assert not doctor.python_version((3, 8)).ok


@pytest.mark.parametrize(
    ("system", "machine", "libc", "macos", "fix"),
    [
        ("Linux", "x86_64", ("glibc", "2.36"), "", ""),
        ("Linux", "aarch64", ("glibc", "2.28"), "", ""),
        ("Darwin", "arm64", None, "14.5", ""),
        ("Darwin", "arm64", None, "13.6", "macOS 14"),
        ("Darwin", "x86_64", None, "15.1", "Dockerfile"),
        ("Windows", "AMD64", None, "", "WSL2"),
        ("Linux", "x86_64", ("", ""), "", "musl"),
        ("Linux", "x86_64", ("glibc", "2.17"), "", "glibc 2.28"),
        ("Linux", "ppc64le", ("glibc", "2.36"), "", "this CPU"),
    ],
)
def test_platform_support(system, machine, libc, macos, fix):
    check = doctor.platform_support(system, machine, libc, macos)
    assert check.ok is not bool(fix)
    assert fix in check.fix
    assert machine in check.found


def test_disk_space(tmp_path):
    assert doctor.disk_space(tmp_path, free_gb=3.0).ok
    check = doctor.disk_space(tmp_path, installed=False, free_gb=3.0)
    assert not check.ok
    assert "free 4.0 GB" in check.fix
    assert doctor.disk_space(tmp_path).found.endswith("needed")


LOCK = """\
# made by a command
numpy==2.4.6  # via matplotlib
appnope==1.0.0 ; sys_platform == 'never'  # via ipykernel
tf-keras==2.20.1
"""


def versions(**installed):
    def version(name):
        try:
            return installed[name.replace("-", "_")]
        except KeyError:
            raise PackageNotFoundError(name) from None

    return version


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text(LOCK)
    return path


def test_read_lock_heeds_the_markers(lock):
    assert doctor.read_lock(lock) == {"numpy": "2.4.6", "tf-keras": "2.20.1"}
    assert "appnope" in doctor.read_lock(lock, {"sys_platform": "never"})


@pytest.mark.parametrize(
    ("installed", "found"),
    [
        ({"numpy": "2.4.6", "tf_keras": "2.20.1"}, "2 at the locked versions"),
        ({"numpy": "2.5.0", "tf_keras": "2.20.1"}, "numpy 2.5.0, not 2.4.6"),
        ({"numpy": "2.4.6"}, "tf-keras missing"),
        ({}, "numpy missing; tf-keras missing"),
    ],
)
def test_locked_packages(lock, installed, found):
    check = doctor.locked_packages(lock, versions(**installed))
    assert check.found == found
    assert check.ok is found.endswith("locked versions")
    assert ("pip install -r requirements.txt" in check.fix) is not check.ok


def test_many_wrong_packages_stay_one_line(tmp_path):
    lock = tmp_path / "requirements.txt"
    lock.write_text("".join(f"package{i}==1\n" for i in range(9)))
    assert doctor.locked_packages(lock, versions()).found.endswith("; 6 more")


def test_without_a_lock(tmp_path):
    check = doctor.locked_packages(tmp_path / "requirements.txt")
    assert not check.ok
    assert "git checkout" in check.fix


def importing(**modules):
    def load(name):
        if isinstance(modules[name], Exception):
            raise modules[name]
        return modules[name]

    return load


CV2 = SimpleNamespace(__version__="5.0.0")
NO_GL = ImportError("libGL.so.1: cannot open shared object file\nmore lines")


@pytest.mark.parametrize(
    ("names", "cv2", "found", "fix"),
    [
        (["opencv-python-headless", "numpy"], CV2, "5.0.0, from opencv-python-headless", ""),
        (["opencv-python-headless"] * 2, CV2, "5.0.0, from opencv-python-headless", ""),
        (["opencv-python", "opencv-python-headless"], CV2, "opencv-python and", "uninstall"),
        (["opencv-python-headless", "opencv-contrib-python"], CV2, "contrib", "uninstall"),
        (["numpy"], CV2, "no OpenCV", "make setup"),
        (["opencv-python"], NO_GL, "does not import: libGL.so.1", "opencv-python-headless=="),
        (["opencv-python-headless"], SimpleNamespace(), "does not import", "--force-reinstall"),
    ],
)
def test_one_cv2(names, cv2, found, fix):
    check = doctor.one_cv2(names, importing(cv2=cv2))
    assert found in check.found
    assert check.ok is not bool(fix)
    assert fix in check.fix
    assert "\n" not in check.found


def test_pkg_resources():
    assert doctor.pkg_resources(importing(pkg_resources=object())).ok
    check = doctor.pkg_resources(importing(pkg_resources=ImportError("No module")))
    assert not check.ok
    assert "setuptools==" in check.fix


def answering(answer):
    def run(command):
        if isinstance(answer, Exception):
            raise answer
        return answer

    return run


@pytest.mark.parametrize(
    ("answer", "found", "fix"),
    [
        ("a log line\n" + json.dumps({"version": "2.20.0", "gpus": []}), "GPUs: none", ""),
        (json.dumps({"version": "2.20.0", "gpus": ["L4"]}), "GPUs: L4", ""),
        (subprocess.CalledProcessError(-4, "python"), "signal 4", "AVX"),
        (subprocess.CalledProcessError(1, "python", stderr="x\nno module\n"), "no module", "setup"),
        (subprocess.TimeoutExpired("python", 180), "does not start", "setup"),
        ("", "does not start", "setup"),
    ],
)
def test_tensorflow(answer, found, fix):
    check = doctor.tensorflow(answering(answer))
    assert found in check.found
    assert check.ok is not bool(fix)
    assert fix in check.fix


SEES_NONE = Check("TensorFlow", "2.20.0, GPUs: none")
SEES_ONE = Check("TensorFlow", "2.20.0, GPUs: L4")


@pytest.mark.parametrize(
    ("tensorflow", "smi", "system", "found", "hint"),
    [
        (SEES_ONE, "L4, 23034 MiB\n", "Linux", "PROFILE=gpu", ""),
        (SEES_NONE, "L4, 23034 MiB\n", "Linux", "does not see it", "tensorflow[and-cuda]==2.20"),
        (SEES_NONE, FileNotFoundError(), "Linux", "no NVIDIA GPU", ""),
        (SEES_NONE, subprocess.CalledProcessError(9, "nvidia-smi"), "Linux", "no NVIDIA", ""),
        (SEES_NONE, FileNotFoundError(), "Darwin", "not used on macOS", ""),
    ],
)
def test_gpu_is_information(tensorflow, smi, system, found, hint):
    check = doctor.gpu(tensorflow, answering(smi), system)
    assert check.ok
    assert found in check.found
    assert hint in check.hint
    assert bool(check.hint) is bool(hint)


@pytest.mark.parametrize(
    ("command", "ok"),
    [(sys.executable, True), ("python", True), ("/elsewhere/bin/python", False)],
)
def test_kernel(command, ok):
    check = doctor.kernel(lambda name: SimpleNamespace(argv=[command]))
    assert check.ok is ok
    assert ("ipykernel install" in check.fix) is not ok


def test_no_kernel():
    def missing(name):
        raise LookupError(f"No such kernel named {name}")

    check = doctor.kernel(missing)
    assert not check.ok
    assert "No such kernel named python3" in check.found


def test_report_names_the_fix_of_each_fault():
    table = doctor.report([Check("disk", "9 GB free", hint="sweep"), Check("cv2", "none", "do so")])
    assert table.splitlines()[0].startswith("ok")
    assert "FAULT  cv2" in table
    assert "fix: do so" in table
    assert "hint: sweep" in table


@pytest.mark.parametrize(
    ("ok", "code", "last"), [(True, 0, "All is well."), (False, 1, "1 to repair.")]
)
def test_main_exits_1_on_a_fault(monkeypatch, capsys, ok, code, last):
    monkeypatch.setattr(doctor, "everything", lambda: [Check("disk", "x", "" if ok else "y")])
    assert doctor.main([]) == code
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_a_refused_python_is_all_that_is_said(monkeypatch):
    refused = Check("Python", "3.9", "install Python 3.12")
    monkeypatch.setattr(doctor, "python_version", lambda: refused)
    assert [check.name for check in doctor.everything()] == ["Python", "platform", "disk"]


def test_before_setup_is_silent_when_all_is_well(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "before_setup", lambda: [Check("disk", "x")])
    assert doctor.main(["--before-setup"]) == 0
    assert capsys.readouterr().out == ""


def test_runs_when_no_package_is_installed(tmp_path):
    """The Python under the environment, without site-packages: still a table, with the faults."""
    done = subprocess.run(
        [sys._base_executable, "-S", "-m", "helpers.doctor"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert "FAULT  packages" in done.stdout
    assert "to repair." in done.stdout


def test_this_environment_is_sound():
    checks = [doctor.locked_packages(), doctor.one_cv2(), doctor.pkg_resources(), doctor.kernel()]
    assert [check for check in checks if not check.ok] == []
