"""The command line of the course.

python -m helpers.course run --profile cpu --dataset roadside --workspace runs/course
python -m helpers.course list
python -m helpers.course publish
python -m helpers.course detector
"""

import argparse
import ast
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.common.errors import CourseError
from helpers.course.parameters import (
    DEFAULTS,
    find_root,
    resolve_workspace,
)
from helpers.course.profiles import PROFILES
from helpers.course.runner import lessons, read_state, run


def _pair(name: str, text: str) -> tuple[str, Any]:
    """Return a parameter given on the command line, with the value that the text spells."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return name, words[text.lower()]
    try:
        return name, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return name, text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (130 after Ctrl-C)."""
    parser = argparse.ArgumentParser(prog="python -m helpers.course", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="run the lessons in order")
    command.add_argument("--profile", default="", help=f"{', '.join(PROFILES)} (default: cpu)")
    command.add_argument("--dataset", default="", help="a name, or a folder (default: roadside)")
    command.add_argument("--workspace", default="", help="where to write (default: runs/course)")
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
        dest="extra",
        help="""a parameter of the lessons: -p every 10, -p labels '["crane"]'""",
    )
    commands.add_parser("list", help="the lessons and what has been run")
    for name in ("list", "publish"):
        if name == "publish":
            commands.add_parser(name, help="put the outputs of a cpu run into notebooks/")
        command = commands.choices[name]
        command.add_argument("--workspace", default="", help="default: runs/course")
    commands.choices["publish"].add_argument("--only", metavar="LESSONS", help="just these")
    commands.add_parser("detector", help="ship the SSD of runs/course in data/ (for authors)")
    options = parser.parse_args(arguments)

    # A line of the log appears when it is written, through a pipe as well.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    root = find_root()
    workspace = getattr(options, "workspace", "") or DEFAULTS["workspace"]

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
    try:
        if options.command == "list":
            _list(root, workspace)
        elif options.command == "detector":
            from helpers.course.publish import ship_detector

            ship_detector(root / workspace, root / "data/detector")
        elif options.command == "publish":
            from helpers.course import publish

            publish.publish(root, workspace, only=options.only)
            if not options.only:
                run_folder = root / resolve_workspace(workspace, root)
                publish.result_picture(run_folder, root / "data" / "pictures" / "result.jpg")
        else:
            summary = run(
                root,
                workspace=workspace,
                dataset=options.dataset or DEFAULTS["dataset"],
                profile=options.profile or DEFAULTS["profile"],
                seed=options.seed,
                split=options.split or None,
                first=options.first or None,
                only=options.only or None,
                extra=dict(_pair(*pair) for pair in options.extra),
            )
            return 1 if "failed" in summary else 0
    except CourseError as error:
        print(f"CourseError: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "Stopped.", file=sys.stderr)
        return 130
    return 0


def _list(root: Path, workspace: str) -> None:
    folder = root / resolve_workspace(workspace, root)
    for name in lessons(root):
        state = read_state(folder, name)
        told = f"{state['status']}, {state['seconds'] / 60:.1f} min" if state else "not run"
        print(f"{name:<28} {told}")
