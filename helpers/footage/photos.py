"""Photos, taken over with their annotations, each with its clip, sharpness and hash."""

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2

from helpers.annotations.clips import clips_of, read_groups
from helpers.annotations.folders import images_in, natural, readable
from helpers.annotations.remarks import Note, Remark
from helpers.common.files import link
from helpers.common.images import decode_file, phash
from helpers.common.sampling import evenly
from helpers.footage.stepping import Limits, Step
from helpers.footage.takes import Take, judged, sharpness


def take_photos(
    source: Path,
    folder: Path,
    step: Step,
    limits: Limits,
    clip_pattern: str | None,
    note: Note,
) -> tuple[list[Take], dict]:
    """Link the photos of `source` into `folder`, with copies of their annotations.

    The clips are those of groups.csv, and for photos that it does not have, of `clips_of`.

    Returns:
        The photos in order, some of them dropped, and counts for the manifest.
    """
    every = list(_files(images_in(source / "images"), note))
    photos = evenly(every, step.max_frames)
    looked = [_looked_at(path, folder) for path in _bar(photos)]
    clips, counts = _clips(source, every, looked, clip_pattern)
    of_clip = defaultdict(list)
    for take in looked:
        of_clip[clips[take.image]].append(take._replace(clip=clips[take.image]))
    found = {t.image: t for clip in of_clip.values() for t in judged(clip, limits, folder)}
    takes = [found[path.name] for path in photos]
    kept = {Path(take.image).stem for take in takes if not take.reason}
    gone = {path.stem for path in every} - kept
    annotated = 0
    for xml in natural(filter(os.path.isfile, (source / "annotations").glob("[!.]*.xml"))):
        # One of no picture's name comes along: lesson 03 knows it by what it says inside.
        if xml.stem not in gone:
            annotated += xml.stem in kept
            # A copy, since labelling tools rewrite an XML file in place.
            shutil.copyfile(xml, folder / "annotations" / xml.name)
    return takes, {"clips": len(of_clip), "annotated": annotated, **counts}


def _files(paths: Sequence[Path], note: Note):
    """Those that are files: a folder or a pipe may be called p3.jpg, or a link lead nowhere."""
    for path in paths:
        if os.path.isfile(path):
            yield path
        else:
            value = "no file, or a link that leads nowhere"
            note(Remark(path.name, "", "unreadable image", value, "put the picture there"))


def _bar(photos: Sequence[Path]):
    from helpers.common.progress import tqdm

    return tqdm(photos, desc="photos", unit="photo")


def _looked_at(path: Path, folder: Path) -> Take:
    link(path, folder / "images" / path.name)
    take = Take(path.name, "")
    image = decode_file(path, cv2.IMREAD_GRAYSCALE)
    if image is None:  # lesson 03 names it
        return take
    return take._replace(sharpness=sharpness(image), phash=int(phash(image), 16))


def _clips(
    source: Path, every: Sequence[Path], looked: Sequence[Take], pattern: str | None
) -> tuple[dict[str, str], dict]:
    """Image -> clip, and for the manifest the rule and how many have no known clip."""
    table = source / "groups.csv"
    groups = read_groups(table, [path.name for path in every]) if table.is_file() else {}
    rest = [take.image for take in looked if take.image not in groups]
    hashes = {take.image: take.phash for take in looked if take.phash is not None}
    found = clips_of(rest, pattern, hashes=hashes)
    # The folder belongs to it: where the user has none, lesson 01 may have made one.
    ours = [f"{readable(source.name)}/{table.name}"] if groups else []
    rules = [*ours, *([found.rule] if rest else [])]
    return groups | found.of, {"clip_rule": "; ".join(rules), "clips_unknown": found.unknown}
