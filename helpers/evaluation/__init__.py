"""Lesson 08: detections scored against the truth."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "scores": (
            "coco_metrics count_at errors_by_kind evaluate examples longest_clip match "
            "precision_recall predict sample_frames sample_images"
        ),
    },
)
