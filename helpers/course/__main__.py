"""The command line of the course.

python -m helpers.course run --profile cpu --dataset roadside --workspace runs/course
python -m helpers.course list
python -m helpers.course publish
python -m helpers.course detector
"""

import argparse
import ast
import io
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.common.commands import ended
from helpers.common.errors import CourseError
from helpers.course.notebooks import find_root, lessons
from helpers.course.parameters import DEFAULTS
from helpers.course.profiles import PROFILES
from helpers.course.runner import run
from helpers.course.workspace import read_state, resolve_workspace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (130 after Ctrl-C)."""
    options = _parser().parse_args(arguments)
    # A line of the log appears when it is written, through a pipe as well.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)
    place = getattr(options, "workspace", "data")
    return ended(lambda: options.do(find_root(), options), place, "Stopped.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.course",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(workspace=DEFAULTS["workspace"])
    commands = parser.add_subparsers(required=True)
    default = "(default: %(default)s)"

    command = commands.add_parser("run", help="run the lessons in order")
    command.set_defaults(do=_run)
    command.add_argument(
        "--profile", default=DEFAULTS["profile"], help=f"{', '.join(PROFILES)} {default}"
    )
    command.add_argument(
        "--dataset", default=DEFAULTS["dataset"], help=f"a name, or a folder {default}"
    )
    command.add_argument("--from", dest="first", metavar="LESSON", help="start there: 06")
    command.add_argument("--only", metavar="LESSONS", help="just these: 06 or 06,07")
    command.add_argument("--seed", type=int, help="of everything random (default: 0)")
    command.add_argument("--split", help="clip, frame or author: how lesson 03 splits")
    command.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        dest="parameters",
        help="""a parameter of the lessons: -p every 10, -p labels '["crane"]'""",
    )
    listing = commands.add_parser("list", help="the lessons and what has been run")
    listing.set_defaults(do=_list)
    publishing = commands.add_parser(
        "publish", help="put the outputs of a cpu run into notebooks/ (for authors)"
    )
    publishing.set_defaults(do=_publish)
    publishing.add_argument("--only", metavar="LESSONS", help="just these")
    for named in (command, listing, publishing):
        named.add_argument("--workspace", default=DEFAULTS["workspace"], help=default)
    detector = commands.add_parser("detector", help="ship the SSD of runs/course (for authors)")
    detector.set_defaults(do=_ship_detector)
    return parser


def _run(root: Path, options: argparse.Namespace) -> int:
    names = ("workspace", "dataset", "profile", "first", "only", "seed", "split")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    own = {name: _literal(text) for name, text in options.parameters}
    for name in {"first", "only"} & own.keys():
        raise CourseError(f"course: {name}: no lesson has this parameter; use --from or --only")
    return 1 if "failed" in run(root, **given | own) else 0


def _list(root: Path, options: argparse.Namespace) -> int:
    folder = root / resolve_workspace(options.workspace, root)
    for name in lessons(root):
        state = read_state(folder, name)
        told = f"{state['status']}, {state['seconds'] / 60:.1f} min" if state else "not run"
        print(f"{name:<28} {told}")
    return 0


def _publish(root: Path, options: argparse.Namespace) -> int:
    from helpers.course.publish import publish, result_picture

    publish(root, options.workspace, only=options.only)
    if not options.only:
        folder = root / resolve_workspace(options.workspace, root)
        result_picture(folder, root / "data" / "pictures" / "result.jpg")
    return 0


def _ship_detector(root: Path, options: argparse.Namespace) -> int:
    from helpers.course.publish import ship_detector

    ship_detector(root / options.workspace, root / "data" / "detector")
    return 0


def _literal(text: str) -> Any:
    """Return the value that a parameter on the command line spells: 10, true, '["crane"]'."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
