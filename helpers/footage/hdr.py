"""HDR video, as phones record it, shown as a standard picture: HLG and PQ become BT.709.

Read as if they were standard, the pictures are grey and dull, and so would be what a detector
learns of them. Sources: Rec. ITU-R BT.2100 (HLG with its system gamma of 1.2 for a display of
1000 cd/m2, PQ, the colours of BT.2020), BT.2408 (white, 203 cd/m2, is the standard white),
BT.1886 (the standard display's gamma of 2.4), BT.2087 (BT.2020 to BT.709).
"""

from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    import av

# Transfer characteristics as H.273 numbers them.
_KINDS = {16: "PQ", 18: "HLG"}
_PEAK, _WHITE = 1000, 203  # cd/m2
_GAMMA = 1.2
_LUMINANCE = (0.2627, 0.678, 0.0593)  # of BT.2020
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
# Part of the standard white up to which brightness stays; what is brighter is squeezed above.
_KNEE = 0.95
_STEPS = 1 << 13  # of the signal, from black to the brightest


def hdr_kind(transfer: int | None) -> str:
    """Return "HLG" or "PQ" for the transfer characteristics of an HDR video, else ""."""
    return _KINDS.get(int(transfer or 0), "")


def standard_picture(frame: "av.VideoFrame", kind: str, layout: str) -> np.ndarray:
    """Return an HDR picture, not turned, as standard uint8 (height, width, 3).

    `kind` is what `hdr_kind` says, `layout` "bgr24" or "rgb24".
    """
    signal = frame.reformat(format="rgb48le", threads=1).to_ndarray()
    light = _light(kind)[signal]
    if kind == "HLG":
        # Of the scene; the display brightens it by its luminance to the power of the gamma.
        scene = cv2.transform(light, np.vstack([_TO_709, _LUMINANCE]))
        gain = cv2.pow(np.maximum(scene[..., 3], 0), _GAMMA - 1) * (_PEAK / _WHITE)
        light = scene[..., :3] * gain[..., None]
    else:
        light = cv2.transform(light, _TO_709)
    # BT.709 cannot show all colours of BT.2020: what it lacks is negative.
    display = cv2.pow(np.clip(light, 0, _PEAK / _WHITE), 1 / 2.4)
    image = _shoulder()[(display * (_STEPS / _brightest()) + 0.5).astype(np.uint16)]
    return image if layout == "rgb24" else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)


@cache
def _light(kind: str) -> np.ndarray:
    """Light by 16-bit signal, float32: of HLG the scene's, 0 to 1; of PQ in standard whites."""
    signal = np.linspace(0, 1, 1 << 16)
    if kind == "HLG":
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = signal ** (1 / m2)
        light = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * 10_000 / _WHITE
    return light.astype(np.float32)


@cache
def _shoulder() -> np.ndarray:
    """The 8-bit value of each step of the signal: as it is, and from the knee on squeezed."""
    signal = np.linspace(0, _brightest(), _STEPS + 1)
    over, most = ((x - _KNEE) / (1 - _KNEE) for x in (signal, _brightest()))
    # Reinhard's curve: its slope is 1 at the knee, and the brightest is 1.
    squeezed = _KNEE + (1 - _KNEE) * over * (1 + over / most**2) / (1 + np.maximum(over, 0))
    return np.round(255 * np.where(over > 0, squeezed, signal)).astype(np.uint8)


def _brightest() -> float:
    """The signal of the peak, where that of the standard white is 1."""
    return (_PEAK / _WHITE) ** (1 / 2.4)
