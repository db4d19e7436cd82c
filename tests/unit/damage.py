"""A fault for the tests of clips."""

from pathlib import Path

import numpy as np


def damage(path: Path, packet: int) -> None:
    """Overwrite the second half of one packet, counted in the order of the file."""
    import av

    with av.open(str(path)) as file:
        places = [(p.pos, p.size) for p in file.demux(video=0) if p.size]
    start, size = places[packet]
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(1).integers(0, 255, size - size // 2, np.uint8)
    data[start + size // 2 : start + size] = noise.tobytes()
    path.write_bytes(data)
