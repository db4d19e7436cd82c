"""Whether TensorFlow will decode an image: what PIL forgives and TensorFlow does not.

Both leave the work to libjpeg and libpng. PIL is content once it has all the pixels; TensorFlow
reads on to the end of the image and stops the training where that is missing, and libpng at a
chunk whose checksum is wrong.
"""

import re
import struct
import zlib

# Resized to fit an input, a picture thinner than this would be less than a pixel wide.
_THIN = 100
# In the data of a JPEG scan, 0xFF is followed by 0, by the number of a restart, or by a marker.
_NEXT_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_END = 0xD9
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length


def whole(data: bytes, kind: str | None) -> bool:
    """Whether the bytes of an image, of PIL's format `kind`, go on to the end of the image.

    Formats other than JPEG and PNG are encoded again for the records: True if PIL decodes them.
    """
    if kind == "JPEG":
        return _whole_jpeg(data)
    return _whole_png(data) if kind == "PNG" else True


def too_thin(width: int, height: int) -> bool:
    """Whether nothing would be left of a picture's shorter side at the input of a network."""
    return max(width, height) > _THIN * min(width, height)


def _whole_jpeg(data: bytes) -> bool:
    # A preview may lie in a segment, with an end of its own: so from one segment to the next.
    place = 2
    while found := _NEXT_MARKER.search(data, place):
        marker, place = found[1][0], found.end()
        if marker == _END:
            return True
        if marker not in _ALONE:
            place += int.from_bytes(data[place : place + 2], "big")
    return False


def _whole_png(data: bytes) -> bool:
    place = 8
    while place + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 4 : place + 8 + length]
        check = data[place + 8 + length : place + 12 + length]
        # libpng passes over chunks it can do without, whose names begin with a small letter.
        if kind[:1].isupper() and check != struct.pack(">I", zlib.crc32(body)):
            return False
        if kind == b"IEND":
            return True
        place += 12 + length
    return False
