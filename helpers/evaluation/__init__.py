"""Lesson 08: detections scored against the truth."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "truth": "longest_clip sample_frames sample_images",
        "matching": "count_at errors_by_kind examples match precision_recall",
        "metrics": "ap50_interval average_precision class_metrics coco_metrics evaluate predict",
        "classes": "confusion confusion_table most_confused silence",
    },
)
