"""TFRecord files for training, with a COCO json of the same images for scoring.

python -m helpers.records write runs/mine/03_dataset runs/mine/04_records --shards 8
python -m helpers.records verify runs/mine/04_records
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.common.artifacts import read_manifest
from helpers.common.commands import ended
from helpers.records.shards import print_counts
from helpers.records.verify import verify_records
from helpers.records.writing import write_records


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: write records, or read them back. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.records", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="write records from a dataset of lesson 03")
    writing.add_argument("dataset", type=Path)
    writing.add_argument("folder", type=Path)
    writing.add_argument("--shards", type=int, default=4, help="files per split (default 4)")
    checking = commands.add_parser("verify", help="read records back and check every one")
    checking.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)

    def work() -> None:
        if given.command == "write":
            write_records(given.dataset, given.folder, shards=given.shards)
            counts = read_manifest(given.folder)["counts"]
        else:
            counts = verify_records(given.folder)
        print_counts(counts)

    stopped = "records: stopped; the same command resumes from here"
    return ended(work, given.folder, stopped)


if __name__ == "__main__":
    sys.exit(main())
