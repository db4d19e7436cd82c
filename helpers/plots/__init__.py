"""All figures and interactive parts of the lessons."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "figures": (
            "augmentations batch_probe class_bars consequences contact_sheet "
            "detections_over_time error_bars findings heights_over_distance histogram "
            "history images inside learning_rate live_history precision_recall proposals "
            "scores split_strip statistics"
        ),
        "performance": "show_roofline show_time",
        "widgets": "slider",
    },
)
