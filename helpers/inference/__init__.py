"""Lessons 00 and 11: a trained detector, run on pictures and on video."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "detector": "Detector build_detector load_detector proposals",
        "anchors": "candidate_boxes matched_anchors",
        "video": "annotate_video",
    },
)
