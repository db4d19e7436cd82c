"""`write_records`: the records of a dataset, written on this machine.

Model Garden trains silently on a wrong label id, an inverted box or ids that are no numbers; so
everything is checked before it is written, and `verify_records` reads it back.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from helpers.annotations.label_map import read_label_map
from helpers.common.artifacts import artifact, fingerprint_of
from helpers.common.files import read_csv, write_text
from helpers.records.shards import Shard, annotation_path, finish, plan, write_shard


@artifact("write_records", resumes=True)
def write_records(dataset: Path, folder: Path, *, shards: int = 4) -> dict:
    """Write `04_records` from `03_dataset`: TFRecord files, COCO json, label map, examples.csv.

    A run that was stopped resumes with the files that it had not finished, unless an image or
    annotation in one of the others has changed since.

    Args:
        dataset: folder of lesson 03.
        folder: gets the records, and a manifest with counts per split and class, how images
            were stored, and the CRC32C of each file.
        shards: files per split; a split of fewer images gets as many as it has (see `plan`).

    Raises:
        CourseError: as `make_example`, naming the file; or the disk takes no more.
    """
    from helpers.common.progress import tqdm

    dataset, folder = Path(dataset), Path(folder)
    label_map = read_label_map(dataset / "label_map.pbtxt")
    rows = read_csv(dataset / "split.csv", ("image", "clip", "split"))
    planned = plan(rows, shards)
    known = {name for shard in planned for name in (shard.name, shard.notes)}
    for path in folder.iterdir():
        if path.name not in known:
            path.unlink()
    with tqdm(total=len(rows), desc="records", unit="image", mininterval=0.2) as bar:
        for shard in planned:
            inputs = _inputs(shard, dataset, label_map)
            if _is_finished(folder, shard, inputs):
                bar.update(len(shard.rows))
                continue
            (folder / shard.notes).unlink(missing_ok=True)
            notes = write_shard(shard, str(dataset), str(folder), label_map, on_image=bar.update)
            write_text(folder / shard.notes, json.dumps({"inputs": inputs} | notes))
    counts = finish(planned, str(dataset), str(folder), label_map)
    for shard in planned:
        (folder / shard.notes).unlink()
    return counts


def _inputs(shard: Shard, dataset: Path, label_map: Mapping[str, int]) -> str:
    """Fingerprint of what a shard is made from, by the sizes and times of the files."""
    facts = []
    for _, image, _ in shard.rows:
        for path in (f"{dataset}/images/{image}", annotation_path(dataset, image)):
            with suppress(FileNotFoundError):
                found = os.stat(path)
                facts.append((found.st_size, found.st_mtime_ns))
    return fingerprint_of(shard.rows, label_map, facts)


def _is_finished(folder: Path, shard: Shard, inputs: str) -> bool:
    """Whether an earlier run wrote this file to its end, from these inputs."""
    try:
        notes = json.loads((folder / shard.notes).read_text(encoding="utf-8"))
        return (notes["inputs"], notes["size"]) == (inputs, (folder / shard.name).stat().st_size)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False
