"""A mirror of the public datasets, filled for a classroom without internet."""

import hashlib
import os
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from helpers.common.archives import BROKEN
from helpers.common.downloads import mirror_address
from helpers.common.errors import CourseError
from helpers.common.files import whole_file
from helpers.footage.datasets import (
    Dataset,
    checksums,
    dataset_names,
    find_archive,
    find_dataset,
    forget_download,
    sha256,
    verified_files,
)


def fill_mirror(folder: Path | str, names: Sequence[str] = ()) -> list[Path]:
    """Fill `folder` with what the course can ask for, in the layout that COURSE_MIRROR reads.

    Writes datasets/<name>.zip (the files used, verified, not compressed) or the public archive
    itself of each of `names`, of all sets by default. What is there and whole is left as it is;
    an interrupted call resumes where it stopped.

    Returns:
        The files.

    Raises:
        CourseError: as `fetch_dataset`, after the other sets were brought.
    """
    if not str(folder).strip():
        raise CourseError("mirror: no folder; say where: make mirror MIRROR=/media/stick")
    place = Path(folder).expanduser() / "datasets"
    chosen = [find_dataset(name) for name in names or dataset_names()]
    place.mkdir(parents=True, exist_ok=True)
    source = mirror_address()
    if source and Path(source).expanduser().resolve() == place.parent.resolve():
        source = ""
    there, faults = [], []
    for dataset in chosen:
        target = place / dataset.archive_name
        if is_whole(dataset, target):
            print(f"{dataset.name}: there already")
            there.append(target)
            continue
        try:
            _mirror(dataset, target, source)
        except CourseError as error:
            faults.append(str(error))
        else:
            print(f"{dataset.name}: {target.stat().st_size / 1e6:.0f} MB; {dataset.licence}")
            there.append(target)
    if faults:
        raise CourseError("; ".join(faults))
    return there


def _mirror(dataset: Dataset, target: Path, source: str) -> None:
    """Write the archive of one dataset, from another mirror or its public address."""
    from helpers.common.progress import tqdm

    place = target.parent
    with whole_file(target) as draft:
        if dataset.sha256:
            archive, _ = find_archive(dataset, place, source)
            # A download is ours to move, a file of another mirror is not.
            (os.replace if archive.parent == place else shutil.copyfile)(archive, draft)
            forget_download(dataset, place)
            return
        with (
            verified_files(dataset, place, source, place) as (files, _),
            zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED, strict_timestamps=False) as bundle,
        ):
            for name in tqdm(sorted(files), desc=f"pack {target.name}", unit="file"):
                bundle.write(files[name], name)


def is_whole(dataset: Dataset, archive: Path) -> bool:
    """Whether an archive of a mirror holds all that it should, unchanged."""
    from helpers.common.progress import tqdm

    if not archive.is_file():
        return False
    if dataset.sha256:
        return sha256(archive) == dataset.sha256
    table = tqdm(checksums(dataset).items(), desc=f"verify {archive.name}", unit="file")
    try:
        with zipfile.ZipFile(archive) as bundle:
            for name, expected in table:
                with bundle.open(name) as file:
                    digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
                    if digest.hexdigest() != expected:
                        return False
    except (KeyError, *BROKEN):
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """`python -m helpers.footage mirror FOLDER [NAME ...]`; returns the exit code."""
    if len(arguments) < 2 or arguments[0] != "mirror":
        print("usage: python -m helpers.footage mirror FOLDER [NAME ...]", file=sys.stderr)
        return 2
    try:
        fill_mirror(arguments[1], arguments[2:])
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mirror: stopped; the same command resumes from here", file=sys.stderr)
        return 130
    return 0
