"""What makes lessons of notebooks: parameters, the runner, the report, checks of exercises."""

from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.common.exports import exports
from helpers.common.quiet import quiet_libraries

# Here, since a lesson may import TensorFlow before it calls `start`.
quiet_libraries()

_lazy = {"lesson": "start", "checks": "check_box_conversion check_iou check_split"}
__getattr__, __dir__, _names = exports(__name__, _lazy)
__all__ = ["CourseError", "read_manifest", *_names]
