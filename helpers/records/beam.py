"""Records written with Apache Beam: on the CPUs of this machine, or on many machines.

Unit of work and bytes are those of `helpers.records.shards`: `plan` says which examples go into
which file, each worker writes whole files, and this process writes what describes them, the
manifest last. Beam has an environment of its own (`make beam`):

.venv-beam/bin/python -m helpers.beam_records runs/mine/03_dataset runs/mine/04_records \
    --shards 8 --direct_running_mode multi_processing --direct_num_workers 0

Options that are not listed by --help go to Beam. Dataset and folder may lie on any filesystem
that Beam knows (gs://, s3://, hdfs://); every worker must reach both. Workers elsewhere need
this package too, with google-crc32c and defusedxml: best in their container image
(--sdk_container_image), or sent along with `--setup_file ./pyproject.toml --requirements_file`
and a file that names the two. Their Python and Beam must be those of .venv-beam.
"""

import argparse
import functools
import json
import logging
import os
import re
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from helpers.annotations.label_map import read_label_map
from helpers.common.artifacts import (
    MANIFEST,
    fingerprint_of,
    input_fingerprint,
    make_folder,
    manifest_text,
)
from helpers.common.errors import CourseError
from helpers.common.files import read_csv
from helpers.records.shards import Shard, finish, plan, print_counts, write_shard

# The files are those of `write_records`, so lessons may take the folder for one of its own.
_MAKER = "write_records"
_PLAN, _FAULT = "plan", "fault"


def write(
    dataset: str | Path, folder: str | Path, *, shards: int = 4, options: Sequence[str] = ()
) -> dict:
    """Write the records of `dataset` into `folder`, and return the counts of its manifest.

    Args:
        dataset: folder of lesson 03, on a disk or on any filesystem that Beam knows.
        folder: on a disk it is made as lessons make theirs: under another name, then renamed,
            in the place of the one before. Elsewhere nothing can be replaced as a whole, and a
            training may be reading it: it must be empty, or hold these records already.
        shards: files per split, see `plan`.
        options: flags of Beam, such as "--runner=FlinkRunner".

    Raises:
        CourseError: as `write_records`, or the pipeline fails.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    options = PipelineOptions([*options])
    _filesystems().set_options(options)
    dataset, folder = _place(dataset), _place(folder)
    label_map = read_label_map(f"{dataset}/label_map.pbtxt", _open)
    rows = read_csv(f"{dataset}/split.csv", ("image", "clip", "split"), _open)
    planned = plan(rows, shards)
    origin = (_MAKER, {"dataset": _fingerprint(dataset)}, {"shards": shards})

    def make(where: str | Path) -> dict:
        return _write(planned, (dataset, str(where), label_map), options)

    if _is_local(folder):
        make_folder(Path(folder), make, origin)
    elif _is_wanted(folder, fingerprint_of(*origin)):
        counts = make(folder)
        with _open(f"{folder}/{MANIFEST}", "wb") as file:
            file.write(manifest_text(*origin, counts).encode())
    return _read_json(f"{folder}/{MANIFEST}")["counts"]


def _write(planned: Sequence[Shard], where: tuple, options) -> dict:
    """Write all but the manifest into an empty folder; return the counts for it.

    Everything is written into a folder inside, of this run alone, and renamed when it is whole:
    a worker that was given up by the runner but still lives cannot touch what was renamed.
    """
    dataset, folder, label_map = where
    part = f"{folder}/.part-{uuid.uuid4().hex[:8]}"
    try:
        _run(planned, dataset, part, label_map, options)
        moves = {}
        for shard in planned:
            try:
                notes = _read_json(f"{part}/{shard.notes}")
            except FileNotFoundError:
                raise CourseError(
                    f"{folder}: {shard.name} was written, but not where this machine sees it; "
                    "dataset and folder must lie where every worker reaches them"
                ) from None
            moves[f"{part}/{notes['file']}"] = f"{folder}/{shard.name}"
        counts = finish(planned, dataset, part, label_map, open_=_open)
        for name in counts["crc32c"].keys() - {shard.name for shard in planned}:
            moves[f"{part}/{name}"] = f"{folder}/{name}"
        if not _is_local(folder):
            _refuse_files(folder)  # another run may have ended meanwhile
        _filesystems().rename([*moves], [*moves.values()])
    finally:
        with suppress(Exception):  # what is left of it harms nothing, and is not the news
            _remove(part)
    return counts


def _run(
    planned: Sequence[Shard],
    dataset: str,
    part: str,
    label_map: Mapping[str, int],
    options,
) -> None:
    """Have each shard written into the folder `part`, with its notes next to it."""
    import apache_beam as beam

    # The plan names every image: too much for the description of a job, which runners limit
    # to some megabytes. Workers are told where in the file their line stands.
    lines, offset = [], 0
    with _open(f"{part}/{_PLAN}", "wb") as file:
        for shard in planned:
            line = json.dumps([shard.name, shard.split, shard.rows]).encode()
            file.write(line)
            lines.append((offset, len(line)))
            offset += len(line)
    try:
        pipeline = beam.Pipeline(options=options)
        _ = (
            pipeline
            | "Plan" >> beam.Create(lines)
            # Without it a runner may give all shards to the one worker that created the list.
            | "Spread" >> beam.Reshuffle()
            | "Write" >> beam.Map(write_one, dataset, part, label_map)
        )
        result = pipeline.run()
        try:
            state = result.wait_until_finish()
        except KeyboardInterrupt:
            result.cancel()  # on a cluster it would run on, and cost
            raise
    except Exception as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        if said.startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt from None  # Beam makes an error of Ctrl-C
        raise CourseError(f"Beam: the pipeline failed ({said}); the log says more") from error
    if state not in (None, "DONE"):
        raise CourseError(f"Beam: the pipeline ended as {state}; the log of the runner says why")
    with suppress(FileNotFoundError), _open(f"{part}/{_FAULT}") as file:
        raise CourseError(file.read().decode())


def write_one(line: tuple[int, int], dataset: str, part: str, label_map: Mapping[str, int]) -> None:
    """Run on a worker: write the shard that stands at `line` (offset, length) of the plan.

    It may be run again, or twice at once: each attempt writes a file of its own, and the notes,
    which say which file it was, appear at the end. A fault in the data is noted, not raised:
    to run the shard again would not mend it, and each runner wraps an exception differently.
    """
    from apache_beam.metrics import Metrics

    filesystems, attempt = _filesystems(), f".{uuid.uuid4().hex[:8]}"
    with _open(f"{part}/{_PLAN}") as file:
        file.seek(line[0])
        name, split, rows = json.loads(file.read(line[1]))
    shard = Shard(name, split, tuple(map(tuple, rows)))
    notes = f"{part}/{shard.notes}"
    if filesystems.exists(notes) or filesystems.exists(f"{part}/{_FAULT}"):
        return
    try:
        done = write_shard(
            shard,
            dataset,
            part,
            label_map,
            open_=functools.partial(_open, suffix=attempt),
            on_image=Metrics.counter("records", "images").inc,
        )
    except CourseError as error:
        with _open(f"{part}/{_FAULT}", "wb") as file:
            file.write(str(error).encode())
        return
    with _open(notes + attempt, "wb") as file:
        file.write(json.dumps({"file": name + attempt} | done).encode())
    filesystems.rename([notes + attempt], [notes])


def _open(path: str, mode: str = "rb", suffix: str = ""):
    """`open` for any filesystem, with `suffix` for files that are written.

    Names that end in .gz or .bz2 are no reason to pack or unpack anything.
    """
    from apache_beam.io.filesystem import CompressionTypes

    filesystems, plain = _filesystems(), {"compression_type": CompressionTypes.UNCOMPRESSED}
    if mode == "wb":
        return filesystems.create(path + suffix, **plain)
    try:
        file = filesystems.open(path, **plain)
        # Object stores find out here that there is none, with exceptions of their own.
        file.read(1)
        file.seek(0)
    except Exception as error:
        if isinstance(error, FileNotFoundError) or filesystems.exists(path):
            raise
        raise FileNotFoundError(path) from None
    return file


def _filesystems():
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def _is_local(path: str) -> bool:
    return _filesystems().get_scheme(path) is None


def _place(path: str | Path) -> str:
    """Return a path that means the same to every process; CourseError where Beam knows none."""
    path = str(path).rstrip("/")
    if _is_local(path):
        return os.path.abspath(path)
    try:
        _filesystems().get_filesystem(path)
    except ValueError:
        raise CourseError(
            f"{path}: Beam has no filesystem for it here; install its extra, as "
            "requirements-beam.in says"
        ) from None
    return path


def _fingerprint(dataset: str) -> str:
    if _is_local(dataset):
        return input_fingerprint(Path(dataset))
    try:
        return _read_json(f"{dataset}/{MANIFEST}")["fingerprint"]
    except FileNotFoundError:
        raise CourseError(
            f"{dataset}/{MANIFEST}: missing; copy the whole folder that lesson 03 wrote"
        ) from None


def _is_wanted(folder: str, fingerprint: str) -> bool:
    """Whether `folder`, on no disk, is still to be written; CourseError if it may not be."""
    with suppress(FileNotFoundError):
        if _read_json(f"{folder}/{MANIFEST}").get("fingerprint") == fingerprint:
            print(f"{folder}: already made with these inputs and parameters, kept.")
            return False
    _refuse_files(folder)
    return True


def _refuse_files(folder: str) -> None:
    """CourseError when a folder on no disk holds files that no run of Beam is writing."""
    # Beam lists by pattern and has no quotes for a folder such as a[1]: its like, then itself.
    (found,) = _filesystems().match([re.sub(r"[*?[]", "?", folder) + "/*"])
    paths = (file.path for file in found.metadata_list if file.path.startswith(f"{folder}/"))
    if names := sorted(p.rpartition("/")[2] for p in paths if f"{folder}/." not in p):
        raise CourseError(
            f"{folder}: holds {names[0]} of other records, or of a run that was stopped; "
            "delete the folder or choose another"
        )


def _remove(part: str) -> None:
    if _is_local(part):
        shutil.rmtree(part, ignore_errors=True)  # Beam's takes the path for a pattern
    else:
        _filesystems().delete([f"{part}/"])


def _read_json(path: str) -> dict:
    with _open(path) as file:
        return json.loads(file.read())


def _with_runner(runner: str, options: Sequence[str]) -> list[str]:
    """Flags of Beam for `runner`; CourseError for one that this machine would ignore."""
    # Beam warns of Google's libraries, which nothing here needs.
    logging.getLogger().addFilter(lambda record: "apitools not found" not in str(record.msg))
    from apache_beam.options.pipeline_options import PipelineOptions

    flags = [f"--runner={runner}", *options]
    if runner.lower() in ("direct", "directrunner"):
        # Else it starts by downloading another runner (Prism), which knows nothing of the
        # options for several processes. No trigger is used here, so nothing else changes.
        flags.append("--allow_unsafe_triggers")
        if not any(flag.startswith("--default_sdk_harness_log_level") for flag in flags):
            flags.append("--default_sdk_harness_log_level=ERROR")
        logging.disable(logging.WARNING)
        found = PipelineOptions(flags)
        known = found.get_all_options()
        strange = found.get_all_options(retain_unknown_options=True).keys() - known.keys()
        logging.disable(logging.NOTSET)
        if strange:
            raise CourseError(f"--{min(strange)}: neither this command nor Beam has that option")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: write records. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.beam_records",
        description=__doc__.splitlines()[0],
        epilog="Further options go to Beam.",
        allow_abbrev=False,
    )
    parser.add_argument("dataset", help="folder of lesson 03: on a disk, gs://, s3://, hdfs://")
    parser.add_argument("folder", help="gets the records; likewise")
    parser.add_argument("--shards", type=int, default=4, help="files per split (default 4)")
    parser.add_argument(
        "--runner",
        default="DirectRunner",
        help="DirectRunner (this machine, the default), FlinkRunner, SparkRunner, DataflowRunner",
    )
    given, options = parser.parse_known_args(arguments)
    try:
        options = _with_runner(given.runner, options)
        counts = write(given.dataset, given.folder, shards=given.shards, options=options)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except ImportError as error:
        if error.name != "apache_beam":
            raise
        print(
            "apache_beam is not installed here; make beam sets it up, then: "
            ".venv-beam/bin/python -m helpers.beam_records",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("beam_records: stopped; the folder is as it was", file=sys.stderr)
        return 130
    print_counts(counts)
    return 0
