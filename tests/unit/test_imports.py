"""Importing a helper is quick and leaves TensorFlow and other heavy packages alone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "helpers").rglob("*.py")
    if path.stem != "__main__"  # runs its command when it is imported
)
# These define Keras classes, for which TensorFlow must be there; nothing else may need it.
KERAS = {"helpers.models.backbones", "helpers.models.ssd"}
HEAVY = (
    "tensorflow",
    "tf_keras",
    "official",
    "matplotlib.pyplot",
    "pandas",
    "supervision",
    "scipy",
    "sklearn",
)
SECONDS = 0.3
LIBRARIES = 2.5  # on a machine slower than a laptop: times what NumPy and OpenCV take there

SCRIPT = """
import sys
{statement}
print(",".join(name for name in {heavy} if name in sys.modules))
"""


def import_cost(statement: str, enough: float = 0.0) -> tuple[float, str]:
    """Seconds of a Python that does just this, and the heavy packages that came along.

    The best of up to five, by the clock or by CPU time, whichever is less: load on the
    machine does not count, nor do threads that numpy starts. `enough` ends the search.
    """
    best = float("inf")
    for _ in range(5):
        before, began = os.times(), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(statement=statement, heavy=HEAVY)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        elapsed, after = time.perf_counter() - began, os.times()
        spent = (after.children_user - before.children_user) + (
            after.children_system - before.children_system
        )
        best = min(best, spent, elapsed)
        if best < enough:
            break
    return best, done.stdout.strip()


@pytest.fixture(scope="module")
def limit() -> float:
    return max(SECONDS, LIBRARIES * import_cost("import cv2")[0])


@pytest.mark.parametrize("module", [m for m in MODULES if m not in KERAS])
def test_a_helper_imports_quickly_and_without_tensorflow(module, limit):
    seconds, heavy = import_cost(f"import {module}", limit)
    assert heavy == ""
    assert seconds < limit


def test_the_measure_sees_a_heavy_import():
    assert import_cost("import matplotlib.pyplot")[1] == "matplotlib.pyplot"


def test_the_list_of_keras_modules_is_current():
    assert set(MODULES) >= KERAS
    assert {"helpers", "helpers.doctor", "helpers.course.runner"} <= set(MODULES)
