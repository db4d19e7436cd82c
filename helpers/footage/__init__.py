"""Lessons 01 and 02: footage and pictures, and the frames taken out of them."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "datasets": "dataset_names fetch_dataset find_dataset",
        "own": "own_folder",
        "web": "collect_pictures",
        "decoding": "frame_index",
        "video": (
            "VIDEO_SUFFIXES decode_frames read_frames readable_videos sample_frames "
            "video_from_images video_info"
        ),
        "frames": "extract_frames",
        "roadside.scene": "render_roadside",
    },
)
