"""Public datasets by name: fetched from a mirror or from their public address, and verified.

`COURSE_MIRROR` (a folder, or the address of one) is looked up first, so that a classroom
without internet runs from a USB stick: it holds `datasets/<name>/`, `datasets/<name>.zip`, or
of a set whose host never repacks it that very archive. `make mirror MIRROR=folder` fills one.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

from helpers.annotations.folders import SPLITS, images_in
from helpers.common.archives import unpack
from helpers.common.artifacts import artifact
from helpers.common.downloads import download, mirror_address, mirror_folder
from helpers.common.errors import CourseError
from helpers.common.files import ROOT, read_csv, read_text, write_csv

# One <name>.sha256 per set, as `sha256sum -c` reads it: a table rather than one digest over
# all, because it can say which file is wrong, and which files of an archive are used at all.
CHECKSUMS = ROOT / "data/checksums"


@dataclass(frozen=True)
class Dataset:
    """Where a public dataset comes from and what is in it.

    Attributes:
        version: the commit or the date of release.
        addresses: of its archive; the first that answers is taken.
        megabytes: size of what is used of it.
        archive: folder or list in the mirror -> what stands for it in the public archive; of
            several folders the first that has a file wins.
        sha256: of an archive that its host never repacks. Of others each file used is verified,
            by CHECKSUMS.
        images, annotations: their folders in the mirror.
        author_split: lists of images in the mirror, for training, for validation, and for a test
            if there is one: a name a line, or a CSV file with a column "filename".
        clips: first and last frame number of each clip.
        held_out: clips that the course keeps for validation when it splits by clip.
    """

    name: str
    description: str
    source: str
    version: str
    addresses: Sequence[str]
    licence: str
    megabytes: int
    classes: Sequence[str]
    archive: Mapping[str, Sequence[str]]
    sha256: str = ""
    images: str = "images"
    annotations: str = "annotations"
    author_split: Sequence[str] = ()
    clips: Mapping[str, Sequence[int]] | None = None
    held_out: Sequence[str] = ()

    @property
    def archive_name(self) -> str:
        """File name of its archive in a mirror."""
        suffix = PurePosixPath(self.addresses[0]).suffix if self.sha256 else ".zip"
        return self.name + suffix

    @property
    def layout_in_mirror(self) -> Mapping[str, Sequence[str]]:
        """As `archive`, for a mirror: its names, or the public archive itself."""
        return self.archive if self.sha256 else {name: (name,) for name in self.archive}


def _dataset(name: str, row: dict) -> Dataset:
    if repository := row.pop("github", ""):
        row["source"] = f"https://github.com/{repository}"
        row["addresses"] = (f"{row['source']}/archive/{row['version']}.zip",)
    return Dataset(name, **row)


_TABLE = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
DATASETS = {name: _dataset(name, row) for name, row in _TABLE.items()}


def dataset_names() -> list[str]:
    """Names that `fetch_dataset` knows."""
    return list(DATASETS)


def find_dataset(name: str) -> Dataset:
    """What is known of a dataset; CourseError for a name that is not in the table."""
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise CourseError(f"dataset: {name!r}; choose one of {known}, or roadside")
    return DATASETS[name]


@artifact("fetch_dataset")
def fetch_dataset(name: str, folder: Path) -> dict:
    """Bring a dataset into the layout of `01_images`, from the mirror or its public address.

    Writes images/, annotations/, sources.csv, and where they exist groups.csv (clips) and
    split.csv (the author's sides). A download that broke off resumes where it stopped, also in a
    later call for the same workspace.

    Returns:
        The path of the folder.

    Raises:
        CourseError: an unknown name, a failed download, an archive that is not safe to unpack, or
            files that differ from those the course was made with.
    """
    dataset = find_dataset(name)
    places = {dataset.images: "images", dataset.annotations: "annotations"}
    for place in places.values():
        (folder / place).mkdir()
    # Unpacked in the draft, which the next call removes if this one is killed.
    with verified_files(dataset, folder.parent, mirror_address(), folder) as (files, ours):
        for relative, path in files.items():
            if target := places.get(relative.split("/")[0]):
                # What was unpacked is ours to move; a mirror may lie on a stick, and is not.
                take = os.replace if ours else shutil.copyfile
                take(path, folder / target / path.name)
        listed = [
            {"image": image, "split": side}
            for side, name in zip(SPLITS, dataset.author_split, strict=False)
            for image in _listed(files[name])
        ]
    images = [path.name for path in images_in(folder / "images")]
    source = {"licence": dataset.licence, "origin": dataset.source}
    sources = [{"file": image, **source} for image in images]
    write_csv(folder / "sources.csv", ("file", "licence", "origin"), sources)
    counts = {"images": len(images)}
    if dataset.clips:
        groups = [{"image": image, "clip": _clip(dataset.clips, image)} for image in images]
        write_csv(folder / "groups.csv", ("image", "clip"), groups)
        counts["clips"] = len({row["clip"] for row in groups})
    if listed:
        write_csv(folder / "split.csv", ("image", "split"), listed)
        counts["author_split"] = len(listed)
    return counts


def _listed(path: Path) -> list[str]:
    """Names of the images in an author's list, in its order."""
    if path.suffix == ".csv":  # with a row for each box
        return list(dict.fromkeys(row["filename"] for row in read_csv(path, ("filename",))))
    return [f"{name.removesuffix('.jpg')}.jpg" for name in read_text(path).split()]


def _clip(clips: Mapping[str, Sequence[int]], image: str) -> str:
    number = int(re.findall(r"\d+", image)[0])
    for clip, (first, last) in clips.items():
        if first <= number <= last:
            return clip
    return Path(image).stem


@contextmanager
def verified_files(
    dataset: Dataset, downloads: Path, mirror: str, scratch: Path
) -> Iterator[tuple[dict[str, Path], bool]]:
    """The files of a dataset, for a while (name in the mirror -> path), and if they may be moved.

    What is fetched for it lies in `downloads`, what is unpacked in a folder in `scratch`. `mirror`
    is a folder, an address or "".
    """
    found, layout = find_archive(dataset, downloads, mirror)
    try:
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".fetch-") as place:
            if packed := found.is_file():
                unpack(found, Path(place) / "unpacked", dataset.archive_name)
                found = Path(place) / "unpacked"
            yield files_used(dataset, found, layout), packed
    except Exception:  # not Ctrl-C, after which the next call resumes
        forget_download(dataset, downloads)
        raise
    forget_download(dataset, downloads)


def find_archive(
    dataset: Dataset, downloads: Path, mirror: str
) -> tuple[Path, Mapping[str, Sequence[str]]]:
    """A folder or an archive that holds the dataset, and where in it the files lie.

    A download lies in `downloads`, where the next call finds it, until `forget_download`.
    """
    inside = f"datasets/{dataset.archive_name}"
    if re.match(r"https?://", mirror):
        if archive := _download(dataset, f"{mirror}/{inside}", downloads, missing_ok=True):
            return archive, dataset.layout_in_mirror
    elif mirror:
        root = mirror_folder(mirror)
        if (root / "datasets" / dataset.name).is_dir() and not dataset.sha256:
            return root / "datasets" / dataset.name, dataset.layout_in_mirror
        if (root / inside).is_file():
            _check_archive(dataset, root / inside, str(root / inside))
            return root / inside, dataset.layout_in_mirror
    for address in dataset.addresses:
        try:
            archive = _download(dataset, address, downloads)
            assert archive is not None  # without `missing_ok`
            return archive, dataset.archive
        except CourseError as error:
            fault = error
    raise fault


def forget_download(dataset: Dataset, downloads: Path) -> None:
    """Remove what was kept of a download, so that the next one does not resume."""
    for part in downloads.glob(f".{dataset.name}-*.part"):
        part.unlink()


def _download(
    dataset: Dataset, address: str, downloads: Path, *, missing_ok: bool = False
) -> Path | None:
    """The file at `address`, verified where it can be; None if `missing_ok` and it is not there."""
    # An archive known by its checksum may be resumed from another address.
    key = dataset.sha256 or hashlib.sha256(address.encode()).hexdigest()
    part = downloads / f".{dataset.name}-{key[:8]}.part"
    if not download(address, part, dataset.name, mirrored="datasets/", missing_ok=missing_ok):
        return None
    try:
        _check_archive(dataset, part, address)
    except CourseError:
        part.unlink()
        raise
    return part


def _check_archive(dataset: Dataset, archive: Path, origin: str) -> None:
    if dataset.sha256 and (actual := sha256(archive)) != dataset.sha256:
        raise CourseError(
            f"{origin}: {dataset.name}: SHA-256 {actual[:12]}, expected {dataset.sha256[:12]}; "
            f"the file is cut off or changed: get it again"
        )


def files_used(
    dataset: Dataset, root: Path, layout: Mapping[str, Sequence[str]]
) -> dict[str, Path]:
    """Every annotation with its image, and the author's lists: name in the mirror -> path.

    Raises:
        CourseError: one is missing, or not the one the course was made with.
    """
    from helpers.common.progress import tqdm

    expected = checksums(dataset)
    names = list(expected)
    if not names:
        folders = [root / place for place in layout[dataset.annotations]]
        for stem in [xml.stem for folder in folders for xml in folder.glob("*.xml")]:
            names += [f"{dataset.annotations}/{stem}.xml", f"{dataset.images}/{stem}.jpg"]
        names += dataset.author_split
    files, wrong = {}, []
    for name in tqdm(names, desc=f"verify {dataset.name}", unit="file"):
        place, _, rest = name.partition("/")
        candidates = (root / folder / rest for folder in layout[place])
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is None:
            wrong.append(f"{name} is missing")
        elif expected and sha256(path) != expected[name]:
            wrong.append(f"{name} is changed")
        else:
            files[name] = path
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CourseError(f"{dataset.name}: {wrong[0]}{more}; get the dataset again")
    return files


def checksums(dataset: Dataset) -> dict[str, str]:
    """Name -> SHA-256 of every file used; empty where the archive as a whole is verified."""
    if dataset.sha256:
        return {}
    lines = (CHECKSUMS / f"{dataset.name}.sha256").read_text(encoding="utf-8").splitlines()
    return {name: value for value, name in (line.split("  ", 1) for line in lines)}


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
