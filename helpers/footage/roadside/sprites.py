"""Light, textures and models of the roadside: all drawn from noise, nothing loaded.

A model is a list of textured quads in road coordinates (metres): x to the right, y up from the
road, s forwards along the road. Textures are 8 bit RGBA with premultiplied alpha, lit once for
the light of the clip, and kept as a pyramid so that each frame samples the level that fits.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np


@dataclass(frozen=True)
class Light:
    """Light and weather of a clip. Colours are RGB, 0..255; lengths in metres, times in s."""

    name: str
    sky_top: tuple
    sky_low: tuple
    haze: tuple
    visibility: float
    ambient: tuple  # factors per channel
    sun: tuple
    shutter: float
    noise: float
    cloud: float  # 0 none .. 1 closed
    lamps: bool


LIGHTS = {
    light.name: light
    for light in (
        Light(
            name="sun",
            sky_top=(38, 84, 152),
            sky_low=(158, 190, 220),
            haze=(170, 188, 206),
            visibility=1500.0,
            ambient=(0.40, 0.44, 0.52),
            sun=(0.86, 0.78, 0.64),
            shutter=0.006,
            noise=1.2,
            cloud=0.22,
            lamps=False,
        ),
        Light(
            name="overcast",
            sky_top=(138, 142, 152),
            sky_low=(186, 188, 194),
            haze=(172, 175, 182),
            visibility=520.0,
            ambient=(0.56, 0.57, 0.60),
            sun=(0.06, 0.06, 0.06),
            shutter=0.012,
            noise=1.8,
            cloud=0.85,
            lamps=False,
        ),
        Light(
            name="dusk",
            sky_top=(36, 48, 86),
            sky_low=(224, 150, 104),
            haze=(132, 112, 116),
            visibility=700.0,
            ambient=(0.43, 0.42, 0.48),
            sun=(0.34, 0.24, 0.15),
            shutter=0.018,
            noise=2.6,
            cloud=0.45,
            lamps=True,
        ),
        Light(
            name="rain",
            sky_top=(112, 117, 126),
            sky_low=(150, 154, 162),
            haze=(146, 150, 158),
            visibility=300.0,
            ambient=(0.43, 0.44, 0.47),
            sun=(0.02, 0.02, 0.02),
            shutter=0.016,
            noise=2.2,
            cloud=1.0,
            lamps=True,
        ),
        Light(
            name="fog",
            sky_top=(168, 171, 175),
            sky_low=(180, 182, 185),
            haze=(178, 180, 183),
            visibility=130.0,
            ambient=(0.55, 0.56, 0.57),
            sun=(0.03, 0.03, 0.03),
            shutter=0.014,
            noise=1.8,
            cloud=1.0,
            lamps=True,
        ),
    )
}


@dataclass(frozen=True)
class Sky:
    """The light of one clip: `light` and the direction to the sun (x, y, s), unit length."""

    light: Light
    sun: np.ndarray

    def on(self, normal) -> np.ndarray:
        """Light factor (3,) on a face with this normal (x, y, s)."""
        normal = np.asarray(normal, np.float32)
        ambient = as_rgb(self.light.ambient) * (0.80 + 0.20 * normal[1])
        return ambient + as_rgb(self.light.sun) * max(0.0, float(normal @ self.sun))


@dataclass
class Texture:
    """`levels[i]`: (H >> i, W >> i, 4) uint8, premultiplied by alpha."""

    levels: list
    rips: dict = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        return self.levels[0].shape[1], self.levels[0].shape[0]

    def rip(self, i: int, j: int) -> np.ndarray:
        """The texture averaged over 2**i columns and 2**j rows (for surfaces seen aslant)."""
        if (i, j) == (0, 0):
            return self.levels[0]
        if (i, j) not in self.rips:
            parent = self.rip(i - 1, j) if i > 0 else self.rip(i, j - 1)
            h, w = parent.shape[:2]
            size = (max(1, w // 2), h) if i > 0 else (w, max(1, h // 2))
            self.rips[i, j] = cv2.resize(parent, size, interpolation=cv2.INTER_AREA)
        return self.rips[i, j]

    def ribbon(self, i: int, j: int, times: int) -> np.ndarray:
        """`rip(i, j)` repeated along x, for a texture that tiles."""
        key = (i, j, times)
        if key not in self.rips:
            self.rips[key] = np.tile(self.rip(i, j), (1, times, 1))
        return self.rips[key]


@dataclass
class Quad:
    """Corners (4, 3) in (x, y, s), clockwise from the texture's top left as its front is seen.

    `kind` is "solid", "shadow" (lies on the ground, drawn first) or "glow" (adds light).
    """

    corners: np.ndarray
    texture: Texture
    two_sided: bool = False
    kind: str = "solid"


def as_rgb(colour) -> np.ndarray:
    """A colour as float32 (3,)."""
    return np.array(colour, np.float32)


def noise(
    rng,
    height: int,
    width: int,
    cell: float | tuple[float, float],
    octaves: int = 4,
    gain: float = 0.55,
) -> np.ndarray:
    """Tileable fractal noise (height, width) float32, about -1..1. `cell`: px, or (y, x) px."""
    cy, cx = cell if isinstance(cell, tuple) else (cell, cell)
    total = np.zeros((height, width), np.float32)
    amplitude, norm = 1.0, 0.0
    for _ in range(octaves):
        gh, gw = max(1, round(height / cy)), max(1, round(width / cx))
        grid = rng.uniform(-1, 1, (min(gh, height), min(gw, width))).astype(np.float32)
        gh, gw = grid.shape
        # Coarse octaves are made small and enlarged: nobody sees it, and it is much faster.
        k = 4 if min(cy, cx) >= 12 and height % 4 == width % 4 == 0 else 1
        ys = (np.arange(height // k) + 0.5) * gh * k / height - 0.5
        xs = (np.arange(width // k) + 0.5) * gw * k / width - 0.5
        octave = _wrap_lerp(_wrap_lerp(grid, ys).T, xs).T
        if k > 1:
            octave = cv2.resize(octave, (width, height), interpolation=cv2.INTER_LINEAR)
        total += amplitude * octave
        norm += amplitude**2
        amplitude *= gain
        cy, cx = max(1.0, cy / 2), max(1.0, cx / 2)
    return total * (1.6 / norm**0.5)


def _wrap_lerp(grid, at):
    low = np.floor(at).astype(int)
    part = (at - low).astype(np.float32)[:, None]
    part = part * part * (3 - 2 * part)
    n = len(grid)
    return np.ascontiguousarray(grid[low % n] * (1 - part) + grid[(low + 1) % n] * part)


def spread(values) -> np.ndarray:
    """(H, W) -> (H, W, 3) float32: numpy is slow at broadcasting along so short an axis."""
    values = np.ascontiguousarray(values, np.float32)
    return cv2.merge((values, values, values))


def dye(shade, colour) -> np.ndarray:
    """(H, W) times an RGB colour -> (H, W, 3) float32."""
    shade = np.ascontiguousarray(shade, np.float32)
    return cv2.merge([shade * np.float32(part) for part in colour])


def texture(rgb, alpha=None, levels: int = 7) -> Texture:
    """Pyramid of `rgb` (H, W, 3) 0..255 with `alpha` (H, W) 0..1, or opaque."""
    rgb = np.clip(rgb, 0, 255).astype(np.float32)
    if alpha is None:
        planes = [*cv2.split(rgb), np.full(rgb.shape[:2], 255, np.float32)]
    else:
        alpha = np.clip(alpha, 0, 1).astype(np.float32)
        planes = [plane * alpha for plane in cv2.split(rgb)] + [alpha * 255]
    image = (cv2.merge(planes) + 0.5).astype(np.uint8)
    pyramid = [image]
    while len(pyramid) < levels and min(image.shape[:2]) >= 4:
        size = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        pyramid.append(image)
    return Texture(pyramid)


def plain(height: int, width: int, colour) -> np.ndarray:
    """(height, width, 3) float32 of one colour."""
    return dye(np.ones((height, width), np.float32), colour)


def weathered(rng, height, width, colour, grime: float = 0.12, edge: float = 0.12):
    """A painted face: slow tint, fine grain, streaks that run down, dirt below, worn edges."""
    shade = 1 + 0.05 * noise(rng, height, width, max(height, width) / 3, 3)
    shade += 0.025 * noise(rng, height, width, 2, 1)
    streaks = noise(rng, height, width, (height, max(2, width / 14)), 3)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    shade -= grime * np.clip(streaks, 0, 1) * (0.2 + 0.8 * down) + grime * 0.9 * down**6
    if edge:
        y, x = np.ogrid[:height, :width]
        border = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
        rim = np.clip(1 - border / max(2.0, 0.03 * max(height, width)), 0, 1)
        shade += edge * rim * np.where(y < height / 2, 0.9, -0.9)
    return dye(np.clip(shade, 0.2, 1.6), colour)


def box_mask(height, width, x0, y0, x1, y1, radius: float = 0.0):
    """Soft-edged rectangle (fractions of the face), (height, width) 0..1."""
    mask = np.zeros((height, width), np.float32)
    left, right = max(0, int(x0 * width) - 1), min(width, int(np.ceil(x1 * width)) + 1)
    top, low = max(0, int(y0 * height) - 1), min(height, int(np.ceil(y1 * height)) + 1)
    if right <= left or low <= top:
        return mask
    x = np.arange(left, right, dtype=np.float32)[None] + 0.5
    y = np.arange(top, low, dtype=np.float32)[:, None] + 0.5
    r = radius * min((x1 - x0) * width, (y1 - y0) * height)
    dx = np.abs(x - (x0 + x1) / 2 * width) - (x1 - x0) / 2 * width + r
    dy = np.abs(y - (y0 + y1) / 2 * height) - (y1 - y0) / 2 * height + r
    if r > 0:
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)
    else:
        outside = np.maximum(dx, dy)
    mask[top:low, left:right] = np.clip(0.5 - (outside - r), 0, 1)
    return mask


def disc_mask(height, width, cx, cy, rx, ry=None):
    """Soft-edged ellipse, radii as fractions of the width (and of the height)."""
    ry = rx * width / height if ry is None else ry
    mask = np.zeros((height, width), np.float32)
    left, right = max(0, int((cx - rx) * width) - 1), min(width, int((cx + rx) * width) + 2)
    top, low = max(0, int((cy - ry) * height) - 1), min(height, int((cy + ry) * height) + 2)
    if right <= left or low <= top:
        return mask
    x = (np.arange(left, right, dtype=np.float32)[None] + 0.5 - cx * width) / (rx * width)
    y = (np.arange(top, low, dtype=np.float32)[:, None] + 0.5 - cy * height) / (ry * height)
    mask[top:low, left:right] = np.clip((1 - np.hypot(x, y)) * rx * width + 0.5, 0, 1)
    return mask


def poly_mask(height, width, points):
    """Anti-aliased polygon; points as fractions of the face."""
    mask = np.zeros((height, width), np.uint8)
    at = np.round(np.array(points, np.float32) * (width, height) * 16).astype(np.int32)
    cv2.fillPoly(mask, [at], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def paint(image, mask, colour) -> None:
    """Mix `colour` (RGB or an image) into `image` where `mask`, in place."""
    x, y, w, h = cv2.boundingRect((mask > 0.002).view(np.uint8))
    if w == 0:
        return
    roi = (slice(y, y + h), slice(x, x + w))
    colour = as_rgb(colour)
    part = image[roi]
    part += ((colour if colour.ndim == 1 else colour[roi]) - part) * spread(mask[roi])


def window(image, rng, x0, y0, x1, y1, deep=(18, 20, 24), frame: float = 0.02):
    """A dark pane with a frame, a sky gradient and one highlight: a lens or flash window."""
    h, w = image.shape[:2]
    paint(image, box_mask(h, w, x0 - frame, y0 - frame, x1 + frame, y1 + frame, 0.2), (40, 41, 44))
    pane = plain(h, w, deep)
    glint = np.clip(
        1 - np.abs(np.linspace(-0.3, 1.4, h)[:, None] - (y0 + 0.2 * (y1 - y0))) * 3, 0, 1
    )
    pane += 46 * glint[..., None]
    paint(image, box_mask(h, w, x0, y0, x1, y1, 0.15), pane)
    cx, cy = x0 + (x1 - x0) * rng.uniform(0.3, 0.7), (y0 + y1) / 2
    radius = 0.28 * min(x1 - x0, (y1 - y0) * h / w)
    paint(image, disc_mask(h, w, cx, cy, radius), (58, 62, 74))
    paint(image, disc_mask(h, w, cx, cy, radius * 0.72), (8, 9, 14))
    paint(
        image, disc_mask(h, w, cx - radius * 0.3, cy - radius * 0.3, radius * 0.22), (190, 198, 210)
    )


def unit(vector) -> np.ndarray:
    vector = np.asarray(vector, np.float32)
    return vector / max(1e-6, float(np.linalg.norm(vector)))


def normal_of(corners) -> np.ndarray:
    """Outward normal of a quad whose corners run clockwise as seen from outside."""
    c = np.asarray(corners, np.float32)
    across, down = c[1] - c[0] + c[2] - c[3], c[3] - c[0] + c[2] - c[1]
    # x right, y up, s forward is a left-handed triple: hence the order of the product.
    return unit(np.cross(down, across)) * -1.0


def quad(sky: Sky, corners, rgb, alpha=None, two_sided=False, lit=True) -> Quad:
    """A quad whose texture is lit for the way it faces."""
    corners = np.array(corners, np.float32)
    factor = sky.on(normal_of(corners)) if lit else np.float32(1)
    return Quad(corners, texture(rgb * factor, alpha), two_sided)


def hexahedron(sky: Sky, bottom, top, faces: dict) -> list[Quad]:
    """Quads of a solid between two rectangles.

    `bottom`, `top`: (x0, x1, s0, s1, y). `faces`: name -> RGB image (or (image, alpha)), names
    front (towards the camera), back, left, right, top. Faces not named are left out.
    """
    bx0, bx1, bs0, bs1, by = bottom
    tx0, tx1, ts0, ts1, ty = top
    b = {
        (0, 0): (bx0, by, bs0),
        (1, 0): (bx1, by, bs0),
        (0, 1): (bx0, by, bs1),
        (1, 1): (bx1, by, bs1),
    }
    t = {
        (0, 0): (tx0, ty, ts0),
        (1, 0): (tx1, ty, ts0),
        (0, 1): (tx0, ty, ts1),
        (1, 1): (tx1, ty, ts1),
    }
    rings = {
        "front": (t[0, 0], t[1, 0], b[1, 0], b[0, 0]),
        "back": (t[1, 1], t[0, 1], b[0, 1], b[1, 1]),
        "left": (t[0, 1], t[0, 0], b[0, 0], b[0, 1]),
        "right": (t[1, 0], t[1, 1], b[1, 1], b[1, 0]),
        "top": (t[0, 1], t[1, 1], t[1, 0], t[0, 0]),
    }
    quads = []
    for name, image in faces.items():
        image, alpha = image if isinstance(image, tuple) else (image, None)
        quads.append(quad(sky, rings[name], image, alpha))
    return quads


def turned(quads: list[Quad], degrees: float) -> list[Quad]:
    """Turn about the vertical; positive shows more of the right face to the camera."""
    a = np.deg2rad(degrees)
    for q in quads:
        x, s = q.corners[:, 0].copy(), q.corners[:, 2].copy()
        q.corners[:, 0] = x * np.cos(a) - s * np.sin(a)
        q.corners[:, 2] = x * np.sin(a) + s * np.cos(a)
    return quads


def post(rng, sky, width, height, colour, x=0.0, y=0.0, s=0.0, cap=0.0, taper=1.0) -> list[Quad]:
    """A round post: one quad that faces the camera, shaded like a cylinder."""
    h, w = 256, 24
    image = weathered(rng, h, w, colour, 0.10, 0.0)
    across = np.linspace(-1, 1, w)
    n = np.stack([across, np.zeros(w), -np.sqrt(1 - across**2)], 1)
    image *= np.stack([sky.on(v) for v in n])[None]
    top, bottom = width / 2 * taper, width / 2
    corners = [
        (x - top, y + height, s),
        (x + top, y + height, s),
        (x + bottom, y, s),
        (x - bottom, y, s),
    ]
    if cap:
        paint(image, box_mask(h, w, 0, 0, 1, cap), image.mean((0, 1)) * 0.5)
    return [Quad(np.array(corners, np.float32), texture(image), True)]


CAMERA_GREYS = ((150, 152, 154), (120, 124, 128), (176, 178, 176), (104, 108, 112))


def _box_on_column(rng, sky, grey, widths, heights, front, side) -> list[Quad]:
    """A box of (width, depth) with a lid, that a neck joins to its column; metres.

    `widths`: of the box, its depth, of the column. `heights`: of column, neck and box.
    """
    (w, d, column), (foot, neck, body) = widths, heights
    top = foot + neck + body
    faces = {"back": side, "left": side, "right": side, "front": front, "top": side}
    quads = hexahedron(
        sky, (-column / 2, column / 2, -column / 2, column / 2, 0),
        (-column / 2, column / 2, -column / 2, column / 2, foot),
        {n: weathered(rng, 128, 64, grey, 0.3) for n in ("left", "right", "front")},
    )  # fmt: skip
    quads += hexahedron(
        sky,
        (-column / 2, column / 2, -column / 2, column / 2, foot),
        (-w / 2, w / 2, -d / 2, d / 2, foot + neck),
        {n: weathered(rng, 64, 96, as_rgb(grey) * 0.9) for n in ("left", "right", "front")},
    )
    quads += hexahedron(
        sky, (-w / 2, w / 2, -d / 2, d / 2, foot + neck), (-w / 2, w / 2, -d / 2, d / 2, top), faces
    )
    lid = weathered(rng, 24, 128, as_rgb(grey) * 0.85)
    e = 0.05
    quads += hexahedron(
        sky,
        (-w / 2 - e, w / 2 + e, -d / 2 - e, d / 2 + e, top - 0.02),
        (-w / 2, w / 2, -d / 2, d / 2, top + 0.08),
        {n: lid for n in ("left", "right", "front")},
    )
    return quads


def camera_swiss(rng, sky) -> list[Quad]:
    """Tall sheet-metal box on a narrower column, with a hooded lens near the top."""
    grey = CAMERA_GREYS[rng.integers(len(CAMERA_GREYS))]
    w, d = rng.uniform(0.72, 0.86), rng.uniform(0.65, 0.8)
    foot, neck, body = rng.uniform(0.6, 1.3), 0.35, rng.uniform(1.35, 1.6)
    column = w * rng.uniform(0.42, 0.55)
    top = foot + neck + body
    front, side = weathered(rng, 320, 176, grey), weathered(rng, 320, 160, grey)
    window(front, rng, 0.30, 0.06, 0.86, 0.28)
    paint(front, box_mask(320, 176, 0.44, 0.62, 0.56, 0.76, 0.3), (30, 32, 34))
    paint(front, box_mask(320, 176, 0.02, 0.33, 0.98, 0.338), as_rgb(grey) * 0.55)
    paint(side, box_mask(320, 160, 0.05, 0.04, 0.95, 0.05), as_rgb(grey) * 0.6)
    paint(side, box_mask(320, 160, 0.08, 0.5, 0.12, 0.56), (60, 60, 60))
    quads = _box_on_column(rng, sky, grey, (w, d, column), (foot, neck, body), front, side)
    x = w * 0.08
    hood = weathered(rng, 48, 96, as_rgb(grey) * 0.8)
    dark = plain(48, 96, (26, 27, 30))
    quads += hexahedron(
        sky,
        (x - 0.18, x + 0.24, -d / 2 - 0.22, -d / 2, top - 0.52),
        (x - 0.18, x + 0.24, -d / 2 - 0.16, -d / 2, top - 0.40),
        {"left": hood, "right": hood, "top": hood, "front": dark},
    )
    return turned(quads, rng.choice([-1, 1]) * rng.uniform(8, 28))


def sheet_metal(rng) -> np.ndarray:
    """The grey of a housing: dark or nearly white, a little warm or cold."""
    return rng.uniform(115, 220) * as_rgb(
        (1 + rng.uniform(-0.03, 0.06), 1.0, rng.uniform(0.88, 1.05))
    )


def camera_shaded(rng, sky) -> list[Quad]:
    """Like `camera_swiss`, in more shapes: a bright flash over a lens between hood and cheeks."""
    grey = sheet_metal(rng)
    w, d = rng.uniform(0.5, 0.76), rng.uniform(0.5, 0.76)
    foot, neck, body = rng.uniform(0.6, 1.5), rng.uniform(0.25, 0.4), rng.uniform(1.4, 1.8)
    column = w * rng.uniform(0.38, 0.55)
    top = foot + neck + body
    front, side = weathered(rng, 320, 176, grey), weathered(rng, 320, 160, grey)
    left = rng.uniform(0.2, 0.5)
    right, low = rng.uniform(0.84, 0.95), rng.uniform(0.22, 0.31)
    window(front, rng, left, 0.05, right, low)
    if rng.random() < 0.75:  # the flash above the lens is a bright pane
        pane = plain(320, 176, as_rgb((1, 1, 1)) * rng.uniform(130, 245))
        across = right - left
        paint(
            front,
            box_mask(320, 176, left + 0.15 * across, 0.07, right - 0.12 * across, low * 0.5, 0.3),
            pane,
        )
    slot = rng.uniform(0.55, 0.75)
    paint(front, box_mask(320, 176, 0.30, slot, 0.42, slot + 0.13, 0.3), (30, 32, 34))
    paint(front, box_mask(320, 176, 0.02, 0.33, 0.98, 0.338), as_rgb(grey) * 0.55)
    paint(side, box_mask(320, 160, 0.05, 0.04, 0.95, 0.05), as_rgb(grey) * 0.6)
    at = rng.uniform(0.15, 0.6)
    paint(side, box_mask(320, 160, at, slot, at + 0.11, slot + 0.12, 0.3), (36, 38, 40))
    quads = _box_on_column(rng, sky, grey, (w, d, column), (foot, neck, body), front, side)
    reach = rng.uniform(0.15, 0.42)
    x0, x1 = w * (left - 0.5) - 0.04, w * (right - 0.5) + 0.06
    hood = weathered(rng, 48, 96, as_rgb(grey) * rng.uniform(0.3, 0.9))
    dark = plain(48, 96, (26, 27, 30))
    y = top - low * body
    quads += hexahedron(
        sky,
        (x0, x1, -d / 2 - reach, -d / 2, y - 0.06),
        (x0, x1, -d / 2 - reach + 0.06, -d / 2, y + 0.05),
        {"left": hood, "right": hood, "top": hood, "front": dark},
    )
    cheek = weathered(rng, 96, 48, as_rgb(grey) * 0.9)
    for x in (x0, x1 - 0.04):  # plates beside the window shade it
        quads += hexahedron(
            sky,
            (x, x + 0.04, -d / 2 - reach * 0.25, -d / 2, y),
            (x, x + 0.04, -d / 2 - reach * 0.25, -d / 2, top - 0.05 * body),
            {"left": cheek, "right": cheek, "front": cheek},
        )
    # It looks across the road, so that drivers see its side as often as its front.
    return turned(quads, rng.choice([-1, 1]) * rng.uniform(5, 60))


def camera_tower(rng, sky) -> list[Quad]:
    """Slim full-height column with dark glass rings."""
    colour = ((196, 196, 190), (150, 154, 158), (205, 198, 176), (92, 96, 100))[rng.integers(4)]
    w, height = rng.uniform(0.42, 0.6), rng.uniform(2.3, 3.0)
    rings = rng.integers(2, 4)

    def face():
        image = weathered(rng, 480, 96, colour, 0.10)
        for i in range(rings):
            y = 0.05 + i * 0.24
            pane = plain(480, 96, (16, 18, 22)) + 30 * np.linspace(1, 0, 480)[:, None, None]
            paint(image, box_mask(480, 96, -0.1, y, 1.1, y + 0.15), pane)
            paint(image, box_mask(480, 96, -0.1, y + 0.15, 1.1, y + 0.158), (210, 210, 210))
            paint(image, disc_mask(480, 96, 0.5, y + 0.075, 0.2), (44, 48, 60))
            paint(image, disc_mask(480, 96, 0.44, y + 0.068, 0.06), (170, 178, 190))
        paint(image, box_mask(480, 96, -0.1, 0.93, 1.1, 1.1), (84, 84, 84))
        return image

    flat = weathered(rng, 64, 64, colour)
    r = w / 2
    quads = hexahedron(
        sky, (-r, r, -r, r, 0), (-r, r, -r, r, height),
        {"left": face(), "right": face(), "front": face(), "top": flat},
    )  # fmt: skip
    return turned(quads, rng.uniform(-25, 25))


def camera_box(rng, sky) -> list[Quad]:
    """A box with a flash and a lens on a pole, grey, yellow, orange or white."""
    colour = (*CAMERA_GREYS, (228, 176, 28), (214, 96, 30), (226, 226, 222))[rng.integers(7)]
    w, d, body = rng.uniform(0.48, 0.72), rng.uniform(0.45, 0.7), rng.uniform(0.6, 0.95)
    pole = rng.uniform(1.4, 2.3)
    front, side = weathered(rng, 224, 176, colour), weathered(rng, 224, 160, colour)
    if rng.random() < 0.5:
        window(front, rng, 0.1, 0.1, 0.45, 0.5)
        window(front, rng, 0.55, 0.1, 0.9, 0.5)
    else:
        window(front, rng, 0.16, 0.08, 0.84, 0.42)
        window(front, rng, 0.25, 0.55, 0.75, 0.85)
    if rng.random() < 0.4:
        stripes = (np.add.outer(np.arange(224), np.arange(176)) // 22 % 2).astype(np.float32)
        paint(front, stripes * box_mask(224, 176, 0.02, 0.88, 0.98, 0.98), (190, 40, 36))
    paint(side, box_mask(224, 160, 0.06, 0.06, 0.94, 0.07), as_rgb(colour) * 0.6)
    for i in range(4):
        y = 0.62 + 0.06 * i
        paint(side, box_mask(224, 160, 0.3, y, 0.7, y + 0.02), as_rgb(colour) * 0.4)
    quads = post(rng, sky, rng.uniform(0.12, 0.2), pole + 0.02, (126, 128, 130))
    quads += hexahedron(
        sky, (-w / 2, w / 2, -d / 2, d / 2, pole), (-w / 2, w / 2, -d / 2, d / 2, pole + body),
        {"back": side, "left": side, "right": side, "front": front},
    )  # fmt: skip
    e = 0.04
    lid = weathered(rng, 16, 96, as_rgb(colour) * 0.8)
    quads += hexahedron(
        sky, (-w / 2 - e, w / 2 + e, -d / 2 - e, d / 2 + e, pole + body - 0.01),
        (-w / 2, w / 2, -d / 2, d / 2, pole + body + 0.06),
        {"left": lid, "right": lid, "front": lid},
    )  # fmt: skip
    return turned(quads, rng.uniform(-20, 20))


def camera_cabinet(rng, sky) -> list[Quad]:
    """Two stacked housings with dark panes on a stout square column."""
    colour = CAMERA_GREYS[rng.integers(len(CAMERA_GREYS))]
    w, d = rng.uniform(0.5, 0.62), rng.uniform(0.4, 0.5)
    foot = rng.uniform(1.2, 1.7)
    r = rng.uniform(0.11, 0.16)
    quads = hexahedron(
        sky,
        (-r, r, -r, r, 0),
        (-r, r, -r, r, foot),
        {
            n: weathered(rng, 160, 32, as_rgb(colour) * 0.9, 0.25)
            for n in ("left", "right", "front")
        },
    )
    y = foot
    for k in range(2):
        height = (0.62, 0.5)[k]
        front, side = weathered(rng, 160, 160, colour), weathered(rng, 160, 128, colour)
        window(front, rng, 0.12, 0.16, 0.88, 0.84) if k else window(front, rng, 0.2, 0.2, 0.8, 0.6)
        quads += hexahedron(
            sky, (-w / 2, w / 2, -d / 2, d / 2, y), (-w / 2, w / 2, -d / 2, d / 2, y + height),
            {"left": side, "right": side, "front": front, "top": side},
        )  # fmt: skip
        y += height + 0.015
    return turned(quads, rng.uniform(-22, 22))


# One make is common and others are rare, as on the roads of one country.
SPEED_CAMERAS = (*[camera_swiss] * 6, *[camera_box] * 2, camera_tower, camera_cabinet)
BROAD_SPEED_CAMERAS = (*[camera_shaded] * 6, *[camera_box] * 2, camera_tower, camera_cabinet)


def sign_face(rng, kind: str):
    """(RGB, alpha) of a sign's plate, 192 px wide for round and triangular ones."""
    n = 192
    image = weathered(rng, n, n, (232, 232, 230), 0.06, 0.0)
    if kind == "limit":
        alpha = disc_mask(n, n, 0.5, 0.5, 0.49)
        paint(image, alpha - disc_mask(n, n, 0.5, 0.5, 0.38), (196, 24, 30))
        text = str(rng.choice([50, 60, 80, 100, 120]))
        layer = np.zeros((n, n), np.uint8)
        scale = 2.7 if len(text) == 2 else 1.9
        (tw, th), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 9)
        cv2.putText(
            layer,
            text,
            ((n - tw) // 2, (n + th) // 2),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            255,
            9,
            cv2.LINE_AA,
        )
        paint(image, layer.astype(np.float32) / 255, (18, 18, 20))
    elif kind == "warning":
        alpha = poly_mask(n, n, [(0.5, 0.03), (0.985, 0.93), (0.015, 0.93)])
        paint(
            image, alpha - poly_mask(n, n, [(0.5, 0.2), (0.85, 0.84), (0.15, 0.84)]), (196, 24, 30)
        )
        paint(image, box_mask(n, n, 0.47, 0.4, 0.53, 0.66), (20, 20, 22))
        paint(image, disc_mask(n, n, 0.5, 0.75, 0.035), (20, 20, 22))
    elif kind == "no":
        alpha = disc_mask(n, n, 0.5, 0.5, 0.49)
        paint(image, alpha - disc_mask(n, n, 0.5, 0.5, 0.38), (196, 24, 30))
        paint(image, disc_mask(n, n, 0.36, 0.5, 0.12), (180, 30, 30))
        paint(image, disc_mask(n, n, 0.64, 0.5, 0.12), (20, 20, 24))
    else:  # a panel of directions
        n = 288
        h = 192
        colour = (18, 74, 150) if rng.random() < 0.5 else (10, 96, 64)
        image = weathered(rng, h, n, colour, 0.05, 0.0)
        alpha = box_mask(h, n, 0.005, 0.005, 0.995, 0.995, 0.08)
        rim = alpha - box_mask(h, n, 0.02, 0.03, 0.98, 0.97, 0.08)
        paint(image, rim, (228, 230, 232))
        for row in range(3):
            width, y = rng.uniform(0.35, 0.6), 0.14 + 0.26 * row
            letters = (noise(rng, h, n, (3 * h, 7), 2) > -0.35).astype(np.float32)
            paint(image, letters * box_mask(h, n, 0.08, y, 0.08 + width, y + 0.14), (226, 228, 230))
        paint(image, poly_mask(h, n, [(0.86, 0.2), (0.93, 0.4), (0.79, 0.4)]), (226, 228, 230))
        paint(image, box_mask(h, n, 0.84, 0.38, 0.88, 0.8), (226, 228, 230))
    return image, alpha


def plate(sky, image, alpha, width, height, y, s=-0.06, x=0.0) -> Quad:
    """An upright plate that faces the camera. The bottom of it is at `y`."""
    r = width / 2
    return quad(
        sky,
        [(x - r, y + height, s), (x + r, y + height, s), (x + r, y, s), (x - r, y, s)],
        image,
        alpha,
    )


def lookalike(rng, sky, kind: str) -> list[Quad]:
    """Roadside furniture that is not a speed camera."""
    if kind == "sos":
        colour = (226, 88, 24)
        front = weathered(rng, 224, 96, colour)
        paint(front, box_mask(224, 96, 0.15, 0.08, 0.85, 0.3, 0.1), (236, 236, 232))
        paint(front, box_mask(224, 96, 0.3, 0.42, 0.7, 0.55, 0.2), (40, 36, 34))
        side = weathered(rng, 224, 96, colour)
        r = 0.17
        return turned(
            hexahedron(
                sky,
                (-r, r, -r, r, 0),
                (-r, r, -r, r, 1.6),
                {"left": side, "right": side, "front": front, "top": side},
            ),
            rng.uniform(-20, 20),
        )
    if kind == "cabinet":
        colour = ((126, 132, 122), (160, 162, 158), (74, 96, 78))[rng.integers(3)]
        w, h, d = rng.uniform(0.6, 1.3), rng.uniform(0.9, 1.35), 0.4
        front = weathered(rng, 192, 192, colour, 0.2)
        paint(front, box_mask(192, 192, 0.495, 0.06, 0.505, 0.9), as_rgb(colour) * 0.5)
        paint(front, box_mask(192, 192, 0.52, 0.45, 0.56, 0.55), (50, 50, 50))
        side = weathered(rng, 192, 96, colour, 0.2)
        return hexahedron(
            sky, (-w / 2, w / 2, -d / 2, d / 2, 0), (-w / 2, w / 2, -d / 2, d / 2, h),
            {"left": side, "right": side, "front": front, "top": side},
        )  # fmt: skip
    if kind == "bin":
        colour = ((60, 76, 66), (92, 94, 98), (150, 70, 40))[rng.integers(3)]
        front = weathered(rng, 96, 64, colour, 0.2)
        paint(front, box_mask(96, 64, 0.15, 0.1, 0.85, 0.25, 0.3), (14, 14, 14))
        r = 0.22
        quads = post(rng, sky, 0.07, 1.0, (110, 110, 112))
        return quads + hexahedron(
            sky, (-r * 0.85, r * 0.85, -r, r, 0.35), (-r, r, -r, r, 1.05),
            {"left": front.copy(), "right": front.copy(), "front": front},
        )  # fmt: skip
    if kind == "lamp":
        height = rng.uniform(8, 10)
        quads = post(rng, sky, 0.2, height, (136, 138, 140), taper=0.55)
        arm = weathered(rng, 16, 128, (128, 130, 132), 0.05)
        reach = -rng.choice([-1, 1]) * 1.6
        lo, hi = sorted((0.0, reach))
        quads.append(
            quad(
                sky,
                [
                    (lo, height + 0.08, 0),
                    (hi, height + 0.08, 0),
                    (hi, height - 0.1, 0),
                    (lo, height - 0.1, 0),
                ],
                arm,
                two_sided=True,
            )
        )
        return quads
    if kind == "delineator":
        image = weathered(rng, 160, 24, (224, 224, 220), 0.25)
        paint(image, poly_mask(160, 24, [(0, 0.2), (1, 0.1), (1, 0.34), (0, 0.44)]), (26, 26, 28))
        paint(image, box_mask(160, 24, 0.3, 0.2, 0.7, 0.34), (226, 120, 40))
        return [plate(sky, image, None, 0.13, 1.05, 0, 0)]
    if kind == "counter":  # a small box half-way up a pole: the nearest to a speed camera
        quads = post(rng, sky, 0.1, rng.uniform(2.6, 4.2), (130, 132, 134))
        side = weathered(rng, 64, 64, (168, 170, 170))
        y = rng.uniform(1.3, 2.2)
        return quads + hexahedron(
            sky, (-0.16, 0.16, -0.24, -0.05, y), (-0.16, 0.16, -0.24, -0.05, y + 0.42),
            {"left": side, "right": side, "front": side},
        )  # fmt: skip
    return post(
        rng, sky, rng.uniform(0.08, 0.22), rng.uniform(2.0, 5.5), CAMERA_GREYS[rng.integers(4)]
    )


def signal_back(rng, sky) -> list[Quad]:
    """A sign for the other direction, seen from behind: grey plate on a pole."""
    height = rng.uniform(2.0, 2.6)
    image = weathered(rng, 128, 128, (112, 114, 116), 0.15)
    paint(image, box_mask(128, 128, 0, 0.3, 1, 0.34), (88, 90, 92))
    paint(image, box_mask(128, 128, 0, 0.66, 1, 0.7), (88, 90, 92))
    alpha = disc_mask(128, 128, 0.5, 0.5, 0.49) if rng.random() < 0.5 else None
    size = rng.uniform(0.6, 0.95)
    return [
        *post(rng, sky, 0.09, height + size * 0.6, (128, 130, 132)),
        plate(sky, image, alpha, size, size, height),
    ]


CAR_COLOURS = (
    (28, 30, 34), (176, 178, 180), (212, 212, 208), (44, 52, 72), (112, 22, 24),
    (86, 90, 94), (20, 74, 110), (60, 84, 66), (150, 140, 122), (16, 16, 18),
)  # fmt: skip


def car(rng, sky, oncoming: bool = False, style: str | None = None) -> list[Quad]:
    """A car or van whose near end is at s = 0; oncoming ones show their front."""
    style = style or str(rng.choice(["hatch", "saloon", "estate", "van"], p=[0.4, 0.2, 0.25, 0.15]))
    length, width, belt, roof, tail, nose = {
        "hatch": (4.0, 1.74, 0.92, 1.46, 0.10, 0.28),
        "saloon": (4.6, 1.80, 0.90, 1.42, 0.20, 0.30),
        "estate": (4.7, 1.80, 0.92, 1.48, 0.03, 0.30),
        "van": (4.9, 1.92, 1.15, 2.02, 0.01, 0.16),
    }[style]
    colour = as_rgb(CAR_COLOURS[rng.integers(len(CAR_COLOURS))])
    colour = colour + (as_rgb((205, 205, 202)) - colour) * (
        0.8 if style == "van" and rng.random() < 0.5 else 0
    )
    w = width / 2
    lamps = sky.light.lamps
    if oncoming:
        tail, nose = nose, tail
    back, back_alpha = _car_end(rng, colour, oncoming, lamps)
    side, side_alpha = _car_side(rng, colour, oncoming)
    sky_tint = as_rgb(sky.light.sky_low)
    glass = _glass(rng, sky_tint, 0.20)
    side_glass = _glass(rng, sky_tint, 0.16)
    pillars = side_glass.copy()
    size: tuple[int, int] = glass.shape[:2]
    for x in (0.0, 0.34, 0.68, 0.97):
        paint(pillars, box_mask(*size, x, 0, x + 0.035, 1), colour * 0.5)
    paint(pillars, box_mask(*size, 0, -0.1, 1, 0.10), colour * 0.75)
    rear_glass = glass.copy()
    ring = 1 - box_mask(*size, 0.07, 0.14, 0.93, 0.94, 0.2)
    paint(rear_glass, ring, colour * 0.85)
    if oncoming:
        paint(rear_glass, disc_mask(*size, 0.3, 0.7, 0.07), (40, 34, 30))
    else:
        for x in (0.28, 0.72):  # headrests
            shape = box_mask(*size, x - 0.06, 0.62, x + 0.06, 1.0, 0.4)
            paint(rear_glass, 0.6 * shape * box_mask(*size, 0, 0, 1, 0.93), (17, 18, 20))
        paint(rear_glass, box_mask(*size, 0.3, 0.86, 0.56, 0.885), (12, 12, 12))
    panel = weathered(rng, 64, 64, colour, 0.04, 0.0) + 0.10 * sky_tint
    e = 0.13 if style != "van" else 0.06
    s0, s1 = tail * length, (1 - nose) * length
    t0, t1 = (
        s0 + (0.45 if style != "van" or oncoming else 0.05),
        s1 - (0.75 if not oncoming else 0.45),
    )
    quads = [
        quad(sky, [(-w, belt, 0.06), (w, belt, 0.06), (w, 0, 0), (-w, 0, 0)], back, back_alpha),
        quad(
            sky, [(-w, belt, length), (-w, belt, 0), (-w, 0, 0), (-w, 0, length)], side, side_alpha
        ),
        quad(
            sky,
            [(w, belt, 0), (w, belt, length), (w, 0, length), (w, 0, 0)],
            side[:, ::-1],
            side_alpha[:, ::-1],
        ),
        quad(
            sky,
            [(-w + e / 2, belt, s0), (w - e / 2, belt, s0), (w, belt, 0.06), (-w, belt, 0.06)],
            panel,
        ),
        quad(
            sky,
            [(-w + e, roof, t0), (w - e, roof, t0), (w - 0.02, belt, s0), (-w + 0.02, belt, s0)],
            rear_glass,
        ),
        quad(
            sky,
            [(-w + e, roof, t1), (-w + e, roof, t0), (-w + 0.02, belt, s0), (-w + 0.02, belt, s1)],
            pillars,
        ),
        quad(
            sky,
            [(w - e, roof, t0), (w - e, roof, t1), (w - 0.02, belt, s1), (w - 0.02, belt, s0)],
            pillars[:, ::-1],
        ),
        quad(
            sky,
            [
                (-w + e, roof + 0.02, t1),
                (w - e, roof + 0.02, t1),
                (w - e, roof, t0),
                (-w + e, roof, t0),
            ],
            panel,
        ),
    ]
    return quads


def _car_end(rng, colour, front: bool, lamps: bool):
    """(RGB, alpha) of the lower half of a car's front or back, wheels included."""
    h, w = 112, 208
    image = weathered(rng, h, w, colour, 0.10, 0.05)
    image *= np.linspace(1.12, 0.70, h)[:, None, None]
    image *= (1 - 0.25 * np.abs(np.linspace(-1, 1, w)) ** 4)[None, :, None]  # rounded corners
    paint(image, box_mask(h, w, -0.1, 0.56, 1.1, 0.58), colour * 0.45)
    paint(image, box_mask(h, w, -0.1, 0.74, 1.1, 1.1), colour * 0.25 + 14)
    paint(image, box_mask(h, w, 0.03, 0.85, 0.97, 1.1), (14, 14, 15))
    plate_y = 0.66 if front else 0.36
    if front:
        paint(image, box_mask(h, w, 0.25, 0.30, 0.75, 0.46, 0.3), (24, 24, 26))
        paint(image, box_mask(h, w, 0.12, 0.64, 0.88, 0.80, 0.4), (26, 26, 28))
    else:
        paint(image, box_mask(h, w, 0.16, 0.02, 0.84, 0.035), colour * 0.5)
        paint(image, box_mask(h, w, 0.30, 0.30, 0.70, 0.53, 0.2), colour * 0.72)
        paint(image, box_mask(h, w, 0.12, 0.62, 0.24, 0.66, 0.3), (120, 22, 20))
        paint(image, box_mask(h, w, 0.76, 0.62, 0.88, 0.66, 0.3), (120, 22, 20))
    paint(image, box_mask(h, w, 0.37, plate_y, 0.63, plate_y + 0.12, 0.1), (206, 206, 200))
    letters = (noise(rng, h, w, (h, 7), 2) > -0.1).astype(np.float32)
    paint(image, letters * box_mask(h, w, 0.39, plate_y + 0.03, 0.61, plate_y + 0.09), (60, 60, 64))
    for x, sign in ((0.0, 1), (1.0, -1)):
        if front:
            paint(image, disc_mask(h, w, x + sign * 0.13, 0.32, 0.09, 0.10), (124, 128, 134))
            bulb = (255, 250, 228) if lamps else (190, 195, 200)
            paint(image, disc_mask(h, w, x + sign * 0.13, 0.32, 0.04), bulb)
            continue
        low, high = sorted((x + sign * 0.01, x + sign * 0.145))
        paint(image, box_mask(h, w, low, 0.05, high, 0.40, 0.25), (88, 15, 17))
        inner = sorted((x + sign * 0.02, x + sign * 0.12))
        lit = (255, 70, 48) if lamps else (142, 26, 26)
        paint(image, box_mask(h, w, inner[0], 0.09, inner[1], 0.21, 0.3), lit)
        paint(image, box_mask(h, w, inner[0], 0.25, inner[1], 0.31, 0.3), (176, 150, 140))
    alpha = box_mask(h, w, 0.004, -0.3, 0.996, 0.87, 0.10)
    for x in (0.02, 0.80):
        wheel = box_mask(h, w, x, 0.5, x + 0.18, 0.995, 0.15)
        paint(image, wheel * box_mask(h, w, -1, 0.85, 2, 2), (16, 16, 17))
        alpha = np.maximum(alpha, wheel)
    return image, alpha


def _car_side(rng, colour, oncoming: bool):
    h, w = 112, 448
    image = weathered(rng, h, w, colour, 0.10, 0.05)
    image *= (1 + 0.22 * np.cos(np.linspace(0, 5.2, h)))[:, None, None] * np.linspace(
        1.08, 0.66, h
    )[:, None, None]
    for x in (0.30, 0.52, 0.72):
        paint(image, box_mask(h, w, x, 0.02, x + 0.006, 0.72), colour * 0.45)
    paint(image, box_mask(h, w, 0.46, 0.14, 0.50, 0.18, 0.3), colour * 0.4)
    alpha = np.maximum(box_mask(h, w, 0, -0.3, 1, 0.80, 0.08), 0)
    for x in (0.19, 0.80):
        rx = 0.078
        paint(image, disc_mask(h, w, x, 0.66, rx * 1.15, 0.40), (10, 10, 11))
        tyre = disc_mask(h, w, x, 0.66, rx, 0.335)
        paint(image, tyre, (22, 22, 23))
        paint(image, disc_mask(h, w, x, 0.66, rx * 0.62, 0.21), (120, 122, 126))
        paint(image, disc_mask(h, w, x, 0.66, rx * 0.2, 0.07), (40, 40, 42))
        alpha = np.maximum(alpha, tyre)
    # The texture's left edge is the far end of the left side: for both sides alike.
    return image, alpha


def _glass(rng, sky_tint, share):
    h, w = 64, 160
    image = plain(h, w, (19, 22, 26))
    image += sky_tint * (share * np.linspace(1, 0.2, h)[:, None, None])
    image *= 1 + 0.15 * noise(rng, h, w, 60, 2)[..., None]
    return image


def shadow_quad(x0, x1, s0, s1, strength: float) -> Quad:
    """A soft dark patch on the road."""
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    alpha = strength * np.clip(1.5 * (1 - np.maximum(np.abs(x), np.abs(y)) ** 4), 0, 1)
    at = [(x0, 0.01, s1), (x1, 0.01, s1), (x1, 0.01, s0), (x0, 0.01, s0)]
    dark = texture(plain(64, 64, (9, 9, 11)), cv2.blur(alpha, (9, 9)))
    return Quad(np.array(at, np.float32), dark, True, "shadow")


def glow_quad(x, y, radius, colour, s=-0.05) -> Quad:
    """Light that a lamp adds around itself (alpha 0: it only adds)."""
    v, u = np.mgrid[-1:1:64j, -1:1:64j]
    d = np.hypot(u, v)
    power = np.clip(1 - d, 0, 1) ** 3 * 0.5 + np.clip(1 - d * 5, 0, 1)
    level = np.zeros((64, 64, 4), np.float32)
    level[..., :3] = np.clip(power, 0, 1)[..., None] * as_rgb(colour)
    levels: list[np.ndarray] = [level.astype(np.uint8)]
    while levels[-1].shape[0] > 4:
        n = levels[-1].shape[0] // 2
        levels.append(cv2.resize(levels[-1], (n, n), interpolation=cv2.INTER_AREA))
    r = radius
    at = [(x - r, y + r, s), (x + r, y + r, s), (x + r, y - r, s), (x - r, y - r, s)]
    return Quad(np.array(at, np.float32), Texture(levels), True, "glow")
