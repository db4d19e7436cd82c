"""Public datasets by name: fetched from a mirror or from their public address, and verified.

`COURSE_MIRROR` (a folder, or the address of one) is looked up first, so that a classroom
without internet runs from a USB stick: it holds `datasets/<name>/` or `datasets/<name>.zip`.
"""

import hashlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from helpers.annotations import images_in, natural
from helpers.artifacts import artifact
from helpers.errors import CourseError
from helpers.split import write_csv

_MAX_UNPACKED = 2_000_000_000  # bytes; the largest of the archives is under 400 MB
_MAX_FILES = 50_000


@dataclass(frozen=True)
class Dataset:
    """Where a public dataset comes from and what is in it.

    `images` and `annotations` are folders in the mirror; `archive` names the folders of the
    public archive that stand for them, the first that has a file wins. `digest` is
    the SHA-256 over the lines "<name> <SHA-256>" of all files used, sorted by name.
    `clips` gives the first and last frame number of each clip; `held_out` the clips that the
    course keeps for validation when it splits by clip.
    """

    name: str
    description: str
    source: str
    commit: str
    licence: str
    classes: tuple[str, ...]
    digest: str
    archive: dict[str, tuple[str, ...]]
    images: str = "images"
    annotations: str = "annotations"
    author_split: tuple[str, str] | None = None
    clips: dict[str, tuple[int, int]] | None = None
    held_out: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Address of the public archive at the pinned commit."""
        return f"{self.source}/archive/{self.commit}.zip"


DATASETS = {
    "speedtraps": Dataset(
        name="speedtraps",
        description="491 dashcam frames, 1920x1080, of motorway speed cameras",
        source="https://github.com/petrum01/Capstone_project_object_detection",
        commit="b2fbf27a821f49d1f72f43bfd7cc1075d56c6f31",
        licence="none stated: for study on your own machine, do not pass it on",
        classes=("radar",),
        digest="38beef43cdb527a85981ce89da93b2b5936ed59eab96c42d8cfd7174ac86be1d",
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
        source="https://github.com/datitran/raccoon_dataset",
        commit="e7c272aeb5f62ec575640ed6b4d8de9bf32e84bd",
        licence="MIT",
        classes=("raccoon",),
        digest="4431d4f1b62e4ef926f6119910072d8d46fbfcb8fb99c71c05c3dd02b0b409f8",
        archive={"images": ("images",), "annotations": ("annotations",)},
    ),
    "bccd": Dataset(
        name="bccd",
        description="364 microscope images of blood, 640x480",
        source="https://github.com/Shenggan/BCCD_Dataset",
        commit="135df0221baca7b51c18190791522ddeba8fddbf",
        licence="MIT",
        classes=("RBC", "WBC", "Platelets"),
        digest="939586f3279bbd01cf278892f4601ef59d9d6665330d1f8f0eb65d6e6cb3c052",
        # The repository moved its folders once; older commits have them at the top.
        archive={
            "JPEGImages": ("BCCD/JPEGImages", "JPEGImages"),
            "Annotations": ("BCCD/Annotations", "Annotations"),
        },
        images="JPEGImages",
        annotations="Annotations",
    ),
}


def names() -> list[str]:
    """Names that `fetch` knows."""
    return list(DATASETS)


def get(name: str) -> Dataset:
    """What is known of a dataset; CourseError for a name that is not in the table."""
    try:
        return DATASETS[name]
    except KeyError:
        known = ", ".join(names())
        raise CourseError(f"dataset: {name!r}; choose one of {known}, or roadside") from None


@artifact
def fetch(name: str, folder: Path) -> dict:
    """Bring a dataset into the layout of `01_images`, from the mirror or its public address.

    Writes images/, annotations/, sources.csv, and where they exist groups.csv (clips) and
    author_split.csv. CourseError for an unknown name, a failed download, an archive that is
    not safe to unpack, or files that differ from those the course was made with.
    """
    dataset = get(name)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as scratch:
        root, layout, origin = _find(dataset, Path(scratch))
        files = _files_used(dataset, root, layout, origin)
        if dataset.digest != (actual := digest(files)):
            raise CourseError(
                f"{origin}: {name}: {len(files)} files with digest {actual[:12]}, expected "
                f"{dataset.digest[:12]}; files are missing or changed: fetch them again"
            )
        (folder / "images").mkdir()
        (folder / "annotations").mkdir()
        places = {dataset.images: "images", dataset.annotations: "annotations"}
        for relative, path in files.items():
            if place := places.get(relative.split("/")[0]):
                # A copy, since the mirror may be on a stick, and is not ours to share names with.
                shutil.copyfile(path, folder / place / path.name)
        listed = [
            {"image": image, "split": side}
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


def digest(files: dict[str, Path]) -> str:
    """SHA-256 over the lines "<name> <SHA-256 of the file>", sorted by name."""
    lines = (f"{name} {hashlib.sha256(files[name].read_bytes()).hexdigest()}\n" for name in files)
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file into `folder`, without the single top folder that code hosts add.

    CourseError, before anything is written, for names that lead out of the folder, links, and
    more than 2 GB or 50 000 files; also for a file that is no zip or fails its checksum.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            items = [item for item in bundle.infolist() if not item.is_dir()]
            if len(items) > _MAX_FILES or sum(i.file_size for i in items) > _MAX_UNPACKED:
                raise CourseError(f"{archive.name}: too large when unpacked; it was not unpacked")
            for item in items:
                path = PurePosixPath(item.filename)
                unsafe = path.is_absolute() or ".." in path.parts
                unsafe = unsafe or re.search(r"[\\:\0]", item.filename)
                if unsafe or stat.S_ISLNK(item.external_attr >> 16):
                    raise CourseError(
                        f"{archive.name}: {item.filename!r}: a link, or a path out of the "
                        "folder; it was not unpacked: get the archive from its own address"
                    )
            tops = {PurePosixPath(item.filename).parts[0] for item in items}
            deep = all(len(PurePosixPath(item.filename).parts) > 1 for item in items)
            skip = 1 if len(tops) == 1 and deep else 0
            for item in items:
                target = folder.joinpath(*PurePosixPath(item.filename).parts[skip:])
                target.parent.mkdir(parents=True, exist_ok=True)
                # ZipFile never yields more bytes than the size declared and summed above.
                with bundle.open(item) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zipfile.zlib.error) as error:
        raise CourseError(f"{archive.name}: broken zip ({error}); download it again") from None


def _find(dataset: Dataset, scratch: Path) -> tuple[Path, dict[str, tuple[str, ...]], str]:
    """Root of the dataset's files, where in it they lie, and the address they came from."""
    mirror = os.environ.get("COURSE_MIRROR", "").strip().rstrip("/")
    same = {name: (name,) for name in dataset.archive}
    unpacked = scratch / "unpacked"
    if re.match(r"https?://", mirror):
        address = f"{mirror}/datasets/{dataset.name}.zip"
        if archive := _download(address, scratch, missing_ok=True):
            unpack(archive, unpacked)
            return unpacked, same, address
    elif mirror:
        if not Path(mirror).is_dir():
            raise CourseError(f"COURSE_MIRROR: {mirror}: no such folder; correct it or unset it")
        place = Path(mirror) / "datasets" / dataset.name
        if place.is_dir():
            return place, same, str(place)
        if (archive := place.with_name(f"{dataset.name}.zip")).is_file():
            unpack(archive, unpacked)
            return unpacked, same, str(archive)
    unpack(_download(dataset.url, scratch), unpacked)
    return unpacked, dataset.archive, dataset.url


def _download(address: str, scratch: Path, *, missing_ok: bool = False) -> Path | None:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    try:
        # No hash here: code hosts pack an archive anew at will. The files are what we verify.
        path = pooch.retrieve(address, None, "download.zip", scratch, progressbar=True)
    except requests.HTTPError as error:
        if missing_ok and error.response is not None and error.response.status_code == 404:
            return None
        reason = str(error)
    except (requests.RequestException, OSError) as error:
        reason = type(error).__name__
    else:
        return Path(path)
    raise CourseError(
        f"{address}: download failed ({reason}); check the connection, or set COURSE_MIRROR "
        "to a folder that holds datasets/"
    )


def _files_used(
    dataset: Dataset, root: Path, layout: dict[str, tuple[str, ...]], origin: str
) -> dict[str, Path]:
    """Every annotation with its image, and the author's lists: name in the mirror -> path."""
    files: dict[str, Path] = {}
    for place in reversed(layout[dataset.annotations]):
        for path in (root / place).glob("*.xml"):
            files[f"{dataset.annotations}/{path.name}"] = path
    for stem in [path.stem for path in natural(files.values())]:
        candidates = (root / place / f"{stem}.jpg" for place in layout[dataset.images])
        if path := next((c for c in candidates if c.is_file()), None):
            files[f"{dataset.images}/{path.name}"] = path
    for listed in dataset.author_split or ():
        path = next((root / p for p in layout[listed] if (root / p).is_file()), None)
        if path is None:
            raise CourseError(f"{origin}: {listed}: missing; fetch the dataset again")
        files[listed] = path
    return files


def _clip(dataset: Dataset, image: str) -> str:
    number = int(re.search(r"\d+", image)[0])
    for clip, (first, last) in dataset.clips.items():
        if first <= number <= last:
            return clip
    return Path(image).stem
