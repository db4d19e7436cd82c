"""Boxes and their files: Pascal VOC XML, the label map, and the formats of other tools."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "boxes": "Annotation Box problem",
        "voc": "read_voc write_voc",
        "folders": "images_in",
        "pairing": "merged pair read_folder",
        "formats": "read_annotations survey",
        "pictures": "Pictures",
        "writing": "write_annotations",
        "label_map": "read_label_map write_label_map",
    },
)
