"""What is wrong with this machine's set-up, and the fix: `python -m helpers.doctor`.

Runs before anything is installed, and on Pythons that the course refuses, so only the
standard library is imported at the top. Each check is a function that returns a `Check`;
what it looks at comes in as parameters with this machine's values as defaults.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"
REINSTALL = "make setup, or: python -m pip install -r requirements.txt"

# Measured: packages on disk, pip's cache of their downloads, one cpu-profile run of all lessons.
INSTALLED_GB, DOWNLOADED_GB, RUN_GB = 3.9, 1.1, 2.0


@dataclass(frozen=True)
class Check:
    """One line of the doctor's table: what was found, and the fix where that is a fault."""

    name: str
    found: str
    fix: str = ""
    hint: str = ""

    @property
    def ok(self) -> bool:
        return not self.fix


def python_version(version: tuple[int, int] = sys.version_info[:2]) -> Check:
    """Python 3.11, 3.12 or 3.13: what the lock is made for (TensorFlow 2.20 has no others)."""
    refused = not (3, 11) <= tuple(version) <= (3, 13)
    fix = "install Python 3.12, then: make setup PYTHON=python3.12" if refused else ""
    return Check("Python", f"{version[0]}.{version[1]}", fix)


def platform_support(
    system: str | None = None,
    machine: str | None = None,
    libc: tuple[str, str] | None = None,
    macos: str | None = None,
) -> Check:
    """Linux x86_64 or arm64 with glibc 2.28 or later, or macOS 14 or later on Apple silicon."""
    system = system or platform.system()
    machine = machine or platform.machine()
    found, fix = f"{system} {machine}", ""
    if system == "Linux":
        name, version = libc or platform.libc_ver()
        found += f", {name} {version}" if name else ", no glibc"
        if machine not in ("x86_64", "aarch64"):
            fix = "there is no TensorFlow for this CPU: use an x86_64 or arm64 machine"
        elif name != "glibc":
            fix = "Alpine and other musl systems have no TensorFlow: use the course's Dockerfile"
        elif _numbers(version) < (2, 28):
            fix = "needs glibc 2.28 (Debian 10, Ubuntu 18.10, RHEL 8) or later: use the Dockerfile"
    elif system == "Darwin":
        macos = macos or platform.mac_ver()[0]
        found = f"macOS {macos} {machine}"
        if machine == "x86_64":
            fix = (
                "Intel Macs have no TensorFlow 2.20: use the course's Dockerfile or a Linux machine"
                " (on Apple silicon, install a Python for arm64: this one runs under Rosetta)"
            )
        elif _numbers(macos) < (14,):
            fix = "update to macOS 14 or later: PyAV has no build for earlier ones"
    else:
        fix = (
            "Windows has no tensorflow-text: in PowerShell, `wsl --install`, then work inside WSL2"
        )
    return Check("platform", found, fix)


def disk_space(
    folder: Path = ROOT, *, installed: bool = True, free_gb: float | None = None
) -> Check:
    """Room for a run of the course and, unless `installed`, for the packages (GB = 10^9 bytes)."""
    if free_gb is None:
        free_gb = shutil.disk_usage(folder).free / 1e9
    needed = RUN_GB if installed else RUN_GB + INSTALLED_GB + DOWNLOADED_GB
    lacking = needed - free_gb
    fix = f"free {lacking:.1f} GB, or move the course to a larger disk" if lacking > 0 else ""
    return Check("disk", f"{free_gb:.1f} GB free, {needed:.1f} needed", fix)


def locked_packages(lock: Path = LOCK, version: Callable[[str], str] = metadata.version) -> Check:
    """Every package that the lock asks for on this machine is there, at the locked version.

    `version(name)` returns the installed version or raises PackageNotFoundError.
    """
    try:
        wanted = read_lock(lock)
    except FileNotFoundError:
        return Check(
            "packages", f"{lock.name} is missing", f"get it back: git checkout {lock.name}"
        )
    except ImportError:
        return Check("packages", "packaging is missing", REINSTALL)
    faults = []
    for package, locked in wanted.items():
        try:
            installed = version(package)
        except metadata.PackageNotFoundError:
            faults.append(f"{package} missing")
        else:
            if installed != locked:
                faults.append(f"{package} {installed}, not {locked}")
    if not faults:
        return Check("packages", f"{len(wanted)} at the locked versions")
    more = [f"{len(faults) - 3} more"] if len(faults) > 3 else []
    return Check("packages", "; ".join(faults[:3] + more), REINSTALL)


def read_lock(lock: Path = LOCK, environment: dict[str, str] | None = None) -> dict[str, str]:
    """Return {package: version} of a lock for this machine, or for the markers `environment`.

    Raises ImportError when neither `packaging` nor pip is there to read the markers.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]
    wanted = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            wanted[requirement.name] = str(requirement.specifier).replace("==", "")
    return wanted


def one_cv2(
    names: Iterable[str] | None = None, load: Callable[[str], Any] = import_module
) -> Check:
    """Exactly one OpenCV distribution, and it imports. Two of them overwrite each other's files.

    `names` are the installed distributions; `load(module)` imports.
    """
    if names is None:
        names = [found.name for found in metadata.distributions()]
    # A distribution may be on two folders of sys.path; it counts once.
    found = sorted({name.lower() for name in names if name and name.lower().startswith("opencv-")})
    headless = "opencv-python-headless"
    again = f"python -m pip install --force-reinstall --no-deps {_locked(headless)}"
    if not found:
        return Check("cv2", "no OpenCV", REINSTALL)
    fix = f"python -m pip uninstall --yes {' '.join(found)}; {again}"
    if len(found) > 1:
        return Check("cv2", " and ".join(found), fix)
    try:
        version = load("cv2").__version__
    except Exception as error:  # a broken cv2 raises more than ImportError
        return Check("cv2", f"{found[0]} does not import: {_one_line(error)}", fix)
    return Check("cv2", f"{version}, from {found[0]} alone")


def pkg_resources(load: Callable[[str], Any] = import_module) -> Check:
    """`pkg_resources` imports: tensorflow_models and tensorboard need it; setuptools 82 lost it."""
    try:
        with warnings.catch_warnings():
            # It announces its end, which the lock's setuptools<82 knows.
            warnings.simplefilter("ignore")
            load("pkg_resources")
    except Exception as error:
        fix = f"python -m pip install {_locked('setuptools')}"
        return Check("pkg_resources", f"does not import: {_one_line(error)}", fix)
    return Check("pkg_resources", "imports")


def tensorflow(run: Callable[[list[str]], str] | None = None) -> Check:
    """TensorFlow starts in a process of its own (on an old CPU it takes Python down).

    `run(command)` returns the command's output and raises OSError, CalledProcessError or
    TimeoutExpired.
    """
    try:
        found = json.loads((run or _output)([sys.executable, "-c", _PROBE]).splitlines()[-1])
    except subprocess.CalledProcessError as error:
        if error.returncode < 0:
            found = f"ends with signal {-error.returncode}"
            fix = "TensorFlow needs a CPU with AVX: use another machine or virtual machine"
            return Check("TensorFlow", found, fix)
        return Check("TensorFlow", _last_line(error.stderr), REINSTALL)
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return Check("TensorFlow", f"does not start: {_one_line(error)}", REINSTALL)
    gpus = ", ".join(found["gpus"]) or "none"
    return Check("TensorFlow", f"{found['version']}, GPUs: {gpus}")


def gpu(
    tensorflow_check: Check, run: Callable[[list[str]], str] | None = None, system: str = ""
) -> Check:
    """Whether the machine has a GPU and TensorFlow uses it. Never a fault: the CPU is enough."""
    on_cpu = "the cpu profile takes about 25 minutes"
    if (system or platform.system()) == "Darwin":
        found = f"not used on macOS: TensorFlow 2.20 has no Metal plug-in; {on_cpu}"
        return Check("GPU", found)
    try:
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        names = [line.strip() for line in (run or _output)(query).splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError):
        names = []
    if not names:
        return Check("GPU", f"no NVIDIA GPU; {on_cpu}")
    if tensorflow_check.ok and not tensorflow_check.found.endswith("none"):
        return Check("GPU", f"{'; '.join(names)}; PROFILE=gpu uses it")
    extra = _locked("tensorflow").replace("tensorflow", "tensorflow[and-cuda]")
    found = f"{'; '.join(names)}, but TensorFlow does not see it; {on_cpu}"
    hint = f"python -m pip install '{extra}' (another 3 GB of CUDA libraries)"
    return Check("GPU", found, hint=hint)


def kernel(spec: Callable[[str], Any] | None = None, executable: str = sys.executable) -> Check:
    """The Jupyter kernel `python3`, which the lessons name, runs this Python.

    `spec(name)` returns a kernel specification (with `argv`) or raises.
    """
    fix = "python -m ipykernel install --sys-prefix --name python3"
    try:
        if spec is None:
            from jupyter_client.kernelspec import KernelSpecManager

            spec = KernelSpecManager().get_kernel_spec
        command = spec("python3").argv[0]
    except Exception as error:  # NoSuchKernel is defined in a package that may be missing
        return Check("kernel", f"no python3 kernel: {_one_line(error)}", fix)
    path = shutil.which(command) or command
    # "python" is replaced by the Python that runs Jupyter.
    if command not in ("python", "python3") and Path(path).parent != Path(executable).parent:
        return Check("kernel", f"python3 runs {command}", fix)
    return Check("kernel", "python3 runs this Python")


def before_setup() -> list[Check]:
    """The checks that make sense before anything is installed."""
    return [python_version(), platform_support(), disk_space(installed=False)]


def everything() -> list[Check]:
    """All checks on this machine, in the order in which to repair.

    On a Python or platform that the course refuses, nothing else can be right: those alone.
    """
    machine = [python_version(), platform_support(), disk_space()]
    if not (machine[0].ok and machine[1].ok):
        return machine
    started = tensorflow()
    return [
        *machine,
        locked_packages(),
        one_cv2(),
        pkg_resources(),
        kernel(),
        started,
        gpu(started),
    ]


def report(checks: Iterable[Check]) -> str:
    """A table of the checks: a mark, what was found, and the fix of each fault."""
    lines = []
    for check in checks:
        lines.append(f"{'ok   ' if check.ok else 'FAULT'}  {check.name:<13}  {check.found}")
        for kind in ("fix", "hint"):
            if said := getattr(check, kind):
                lines.append(f"{'':22}{kind}: {said}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return 1 when something is at fault. `--before-setup`: the first checks,
    and nothing printed when all is well."""
    parser = argparse.ArgumentParser(prog="python -m helpers.doctor", description=__doc__)
    parser.add_argument("--before-setup", action="store_true", help="only what installing needs")
    options = parser.parse_args(arguments)
    checks = before_setup() if options.before_setup else everything()
    faults = sum(not check.ok for check in checks)
    if faults or not options.before_setup:
        print(report(checks))
        print(f"{faults} to repair." if faults else "All is well.")
    return 1 if faults else 0


_PROBE = (
    "import json, os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import tensorflow as tf;"
    "gpus = [tf.config.experimental.get_device_details(gpu).get('device_name', gpu.name)"
    " for gpu in tf.config.list_physical_devices('GPU')];"
    "print(json.dumps({'version': tf.__version__, 'gpus': gpus}))"
)


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=180)
    return done.stdout


def _locked(package: str) -> str:
    """`package==version` of the lock; the bare name where the lock cannot be read."""
    try:
        return f"{package}=={read_lock()[package]}"
    except (OSError, ImportError, KeyError):
        return package


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _last_line(text: str | None) -> str:
    return ((text or "").strip().splitlines() or ["does not start"])[-1]


if __name__ == "__main__":
    sys.exit(main())
