"""Folders that appear whole or not at all, and know what they were made from.

Each lesson reads the folder of an earlier one and writes its own. A function that makes
such a folder is decorated with `artifact`; it then works in a draft next to the folder, which
takes the folder's name only when the function has returned.
"""

import fcntl
import functools
import glob
import hashlib
import inspect
import json
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers.common.errors import CourseError, refusals
from helpers.common.files import read_json, write_text

MANIFEST = "manifest.json"
_REPORTED = ("tensorflow", "tf-models-official", "numpy", "opencv-python-headless", "apache-beam")


def artifact(
    maker: str, *, resumes: bool = False
) -> Callable[[Callable[..., dict | None]], Callable[..., Path]]:
    """Make `function(..., folder, ...)` build `folder` as a whole, and only when needed.

    The decorated function must have a parameter `folder`: the output. It is called with an
    empty draft folder in its place and returns counts (a dict that JSON can hold) or None.
    Parameters that are `Path`s of something that exists are inputs: a folder with a manifest
    counts by its fingerprint, anything else by the names, sizes and times of its files.
    Everything else is a parameter. When `folder` was already made from the same inputs with the
    same parameters, nothing is done. Keyword `rebuild=True` builds again all the same.

    The draft is removed when the function raises; what was there before stays as it was.

    Args:
        maker: the function's name in manifests and fingerprints. It stays when the code moves,
            and gets another number when the code makes something else of the same inputs: then
            every finished folder is stale.
        resumes: the draft stays next to the folder when the function raises or is killed, and a
            later call with the same inputs and parameters gets it as it was left: the function
            must tell what in it is whole.

    Returns:
        A decorator. The decorated function returns the path of the folder. It raises what the
        function raises, and CourseError when `folder` holds files that this course did not make,
        or when another process is making it.
    """

    def decorate(function: Callable[..., dict | None]) -> Callable[..., Path]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def build(*args, rebuild: bool = False, **kwargs) -> Path:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            folder = Path(bound.arguments["folder"])
            inputs, parameters = _inputs_and_parameters(bound.arguments)

            def make(draft: Path) -> dict | None:
                bound.arguments["folder"] = draft
                return function(*bound.args, **bound.kwargs)

            return make_folder(
                folder, make, (maker, inputs, parameters), resumes=resumes, rebuild=rebuild
            )

        return build

    return decorate


def _inputs_and_parameters(arguments: dict) -> tuple[dict, dict]:
    """What the manifest says of a function's arguments; of a dict each item counts by itself."""
    inputs, parameters = {}, {}
    for name, value in arguments.items():
        if name == "folder":
            continue
        for key, item in value.items() if isinstance(value, dict) else [("", value)]:
            where = f"{name}.{key}" if key else name
            if isinstance(item, Path) and item.exists():
                inputs[where] = input_fingerprint(item)
            else:
                parameters[where] = str(item) if isinstance(item, Path) else item
    return inputs, parameters


def make_folder(
    folder: Path,
    make: Callable[[Path], dict | None],
    origin: tuple[str, dict, dict],
    *,
    resumes: bool = False,
    rebuild: bool = False,
) -> Path:
    """Let `make(draft)` fill `folder`, as `artifact` says; it returns the counts.

    `origin` is what the manifest states: maker, inputs, parameters. For what a decorator cannot
    see, such as inputs that lie on no disk.
    """
    with refusals(folder):
        return _made(folder, make, origin, resumes, rebuild)


def _made(folder: Path, make, origin: tuple[str, dict, dict], resumes: bool, rebuild: bool) -> Path:
    _refuse_foreign(folder)
    fingerprint = fingerprint_of(*origin)
    current = not rebuild and is_current(folder, fingerprint)
    resuming = resumes and not current and not rebuild
    clear_leftovers(folder, keep=fingerprint if resuming else None)
    if current:
        print(f"{folder.name}: already made with these inputs and parameters, kept.")
        return folder
    with _draft_of(folder, fingerprint if resumes else None) as draft:
        write_manifest(draft, *origin, make(draft) or {})
        replace_folder(draft, folder)
    return folder


def write_manifest(folder: Path, maker: str, inputs: dict, parameters: dict, counts: dict) -> None:
    """Write the manifest that declares `folder` whole: the last thing written into it."""
    write_text(folder / MANIFEST, manifest_text(maker, inputs, parameters, counts))


def manifest_text(maker: str, inputs: dict, parameters: dict, counts: dict) -> str:
    """Return what a manifest holds, for folders that lie on no disk."""
    manifest = {
        "made_by": maker,
        "fingerprint": fingerprint_of(maker, inputs, parameters),
        "inputs": inputs,
        "parameters": parameters,
        "counts": counts,
        "versions": versions(_REPORTED),
    }
    return json.dumps(manifest, indent=1, default=str) + "\n"


def is_current(folder: Path, fingerprint: str) -> bool:
    """Whether `folder` is whole and was made from just these inputs and parameters."""
    try:
        return read_manifest(folder)["fingerprint"] == fingerprint
    except CourseError:
        return False


def read_manifest(folder: Path) -> dict:
    """Return the manifest of an artifact folder; CourseError when there is none."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise CourseError(f"{path}: missing; run the lesson that writes this folder")
    try:
        manifest = read_json(path)
    except CourseError as error:
        reason = str(error).partition(";")[0]
        raise CourseError(f"{reason}; delete the folder, run it again") from None
    if not isinstance(manifest, dict) or "fingerprint" not in manifest:
        raise CourseError(f"{path}: has no fingerprint; delete the folder, run it again")
    return manifest


def replace_folder(draft: Path, folder: Path) -> None:
    """Give `draft` the name `folder`. A folder already there is removed after the rename.

    A process killed between the two renames leaves the old folder under a hidden name;
    `clear_leftovers` puts it back.
    """
    old = _new_name(folder, "old")
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def clear_leftovers(folder: Path, *, keep: str | None = None) -> None:
    """Remove what killed runs left next to `folder`, and put back a folder they had moved.

    Drafts that a living process is still filling are left alone, and so is the one that the
    run with the fingerprint `keep` resumes.
    """
    drafts = [path for path in _leftovers(folder, "draft") if path != _draft_name(folder, keep)]
    for draft in drafts:
        if not _in_use(draft):
            shutil.rmtree(draft, ignore_errors=True)
    if any(draft.exists() for draft in drafts):
        return
    for old in _leftovers(folder, "old"):
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(folder)


@contextmanager
def _draft_of(folder: Path, fingerprint: str | None) -> Iterator[Path]:
    """A draft folder, locked while in use: an empty one that is gone afterwards, or, with a
    fingerprint, the one that an earlier run left, which stays when this one fails as well."""
    draft = _draft_name(folder, fingerprint) or _new_name(folder, "draft")
    draft.mkdir(parents=True, exist_ok=fingerprint is not None)
    # The kernel drops the lock when the process dies, however it dies, so a locked draft is
    # a living one: true across containers that share the disk, where process numbers are not.
    handle = os.open(draft, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CourseError(
                f"{folder}: another process is making it; wait for that, or stop it"
            ) from None
        except OSError:
            pass  # some network disks cannot lock
        yield draft
    except BaseException:
        if fingerprint and draft.exists() and any(draft.iterdir()):
            print(f"{folder.name}: what was done is kept in {draft.name} for the next run.")
        raise
    finally:
        os.close(handle)
        if fingerprint is None:
            shutil.rmtree(draft, ignore_errors=True)


def _in_use(draft: Path) -> bool:
    try:
        handle = os.open(draft, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _draft_name(folder: Path, fingerprint: str | None) -> Path | None:
    return folder.with_name(f".{folder.name}.draft-{fingerprint}") if fingerprint else None


def _new_name(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}-{uuid.uuid4().hex[:8]}")


def _leftovers(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.parent.glob(f".{glob.escape(folder.name)}.{kind}-*"))


def _refuse_foreign(folder: Path) -> None:
    """CourseError when building `folder` would delete files that are not the course's."""
    if folder.exists() and not folder.is_dir():
        raise CourseError(f"{folder}: is a file; move it away or choose another workspace")
    if not folder.is_dir() or (folder / MANIFEST).exists():
        return
    if any(not file.name.startswith(".") for file in folder.iterdir()):
        raise CourseError(
            f"{folder}: holds files that the course did not make (no {MANIFEST}); "
            "move them away or choose another workspace"
        )


def input_fingerprint(path: Path) -> str:
    """What stands for an input: its manifest's fingerprint, or its names, sizes and times."""
    with suppress(CourseError):
        return read_manifest(path)["fingerprint"]
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    listing = []
    for file in files:
        if file.is_file():
            stat = file.stat()
            listing.append([str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns])
    return fingerprint_of(listing)


def fingerprint_of(*parts: object) -> str:
    """Return 16 hex digits that stand for `parts`: equal for equal values, in any process."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of Python, and of those packages that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
