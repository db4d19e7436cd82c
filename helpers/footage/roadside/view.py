"""How the dashcam sees a scene: projection, drawing from far to near, glass, boxes.

A point of the road at `s` metres along it, `x` to the right and `y` up is seen at depth
Z = s - s_camera, at X = x - x_camera + bend(Z) and Y = y + climb(Z). A pinhole camera takes this
into the canvas; the lens, the windscreen and the sensor make the frame of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

from helpers.footage.roadside import backdrop, sprites

FPS = 30
EYE = 1.30  # height of the camera above the road, m
NEAR, FAR = 0.9, 420.0  # m
FOCAL = 0.54  # focal length before the lens, as a share of the width
HORIZON = 0.555  # eye level, as a share of the height
BARREL = 0.085  # how much the lens bends at the corner
FILL = 0.985  # share of the canvas that the lens uses, which leaves room for roll
CLEAR = 6.0  # haze starts here, m
LISTED_HEIGHT, DIFFICULT_HEIGHT = 8.0, 24.0  # px at 720 lines
LISTED_VISIBILITY, DIFFICULT_VISIBILITY = 0.1, 0.4
MARGIN = 0.35  # of the image size: how far outside the image an object is counted
HIDDEN_END = 2.0  # px; a box side moves to what is seen when more than this is hidden

# Ribbons are drawn in pieces between these depths; slabs of an octave set the drawing order.
CUTS = np.array([0.9, 1.4, 2, 2.8, 4, 5.6, 8, 11.3, 16, 22.6, 32, 45, 64, 90, 128, 181, 256, FAR])
WIRES_FROM_SLAB = 5  # power lines hang behind what is nearer than 2**5 m


@dataclass(frozen=True)
class ClipSpec:
    """What one clip is made from. Sizes in pixels; `light` is one of `sprites.LIGHTS`.

    `broad` clips differ more from each other: in the makes and greys of the speed cameras, in
    what hides their feet and stands behind them, in exposure, contrast and sharpening.
    """

    name: str
    seed: int
    seconds: float = 4.0
    light: str = "sun"
    width: int = 1280
    height: int = 720
    broad: bool = False

    @property
    def frames(self) -> int:
        return max(1, round(self.seconds * FPS))


@dataclass(frozen=True)
class BoxRow:
    """One object in one frame: a row of boxes.csv. Box in pixels, continuous edges."""

    frame: int
    track: int
    label: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    distance_m: float
    visibility: float
    difficult: int


@dataclass
class Thing:
    """Quads that stand at (x, s). `boxed` of them, the first ones, make the labelled object."""

    quads: list
    x: float
    s: float
    label: str | None = None
    boxed: int = 0
    speed: float = 0.0
    track: int = 0


@dataclass
class Strip:
    """A ribbon along the road from s0 to s1: guard rail, hedge, wall, line of trees."""

    x: float
    s0: float
    s1: float
    texture: sprites.Texture
    height: float
    length: float  # of the texture, m
    ppm: float  # px per metre of the texture


class Wire(NamedTuple):
    """A power line between masts that stand every `step` metres from `start` on."""

    x: float
    y: float
    start: float
    step: float


class Drop(NamedTuple):
    """A drop on the windscreen, which falls at second `born` with its corner at pixel x, y."""

    born: float
    x: int
    y: int
    bend_x: np.ndarray  # (n, n) float32, pixels
    bend_y: np.ndarray
    shade: np.ndarray  # (n, n, 4) uint8


class Patch(NamedTuple):
    """A quad of one frame, projected and ready to be drawn."""

    quad: sprites.Quad
    points: np.ndarray  # (4, 2) canvas pixels
    bounds: list[float]  # left, top, right, bottom, pixels
    span: np.ndarray  # share of the texture's width that is in front of the camera, from and to
    level: int  # of the texture's pyramid
    haze: float  # 0 to 1
    smear: list[int]  # motion blur across and down, pixels
    limit: int  # first canvas row that nearer ground hides
    ident: int  # track of a labelled thing, else 0
    solid: bool  # it hides what is behind it


class Outline(NamedTuple):
    """Where a labelled thing was drawn in a frame."""

    thing: "Thing"
    points: np.ndarray  # (n, 2) canvas pixels along its edges
    pixels: int  # that it covered when it was drawn
    distance: float  # m


class Job(NamedTuple):
    """Something to be drawn. Sorted, jobs go from far to near; `number` keeps equal ones apart."""

    slab: int  # minus the octave of the depth
    band: int  # minus the rank of the lane beside the road
    depth: float  # minus the metres
    number: int
    draw: Callable
    arguments: tuple


@dataclass
class Scene:
    """A whole clip, ready to be drawn frame by frame in any order."""

    spec: ClipSpec
    light: sprites.Light
    speed: float  # of the camera, m/s
    x: float  # of the camera, m
    bends: np.ndarray  # rows (amplitude m, wavelength m, phase)
    hills: np.ndarray
    sway: np.ndarray  # (frames, 4): pitch px, roll rad, exposure factor, height m
    ground: sprites.Texture
    panorama: np.ndarray
    cabin: backdrop.Cabin
    grain: np.ndarray
    things: list[Thing] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    streaks: np.ndarray | None = None
    tone: np.ndarray | None = None  # (256,) uint8: brightness in, brightness out
    sharpening: float = 0.0  # share of the detail that the camera adds
    tables: dict = field(default_factory=dict)  # made by `prepare`


def prepare(scene: Scene) -> Scene:
    """Number the labelled things and lay all quads out in arrays, once for the clip."""
    spec, track = scene.spec, 0
    for thing in scene.things:
        if thing.label is not None:
            track += 1
            thing.track = track
    quads, owners, ident = [], [], []
    for n, thing in enumerate(scene.things):
        for k, quad in enumerate(thing.quads):
            quads.append(quad)
            owners.append(n)
            ident.append(thing.track if thing.label and k < thing.boxed else 0)
    owner = np.array(owners, int)
    corners = np.stack([quad.corners for quad in quads]).astype(np.float64)
    corners[..., 0] += np.array([t.x for t in scene.things])[owner][:, None]
    corners[..., 2] += np.array([t.s for t in scene.things])[owner][:, None]
    lanes = {
        side: sorted({abs(t.x) for t in scene.strips if (t.x > 0) == side})
        for side in (True, False)
    }
    bands = [
        999 if np.ptp(thing.quads[0].corners[:, 0]) > 40
        else 2 * int(np.searchsorted(lanes[thing.x > 0], abs(thing.x)))
        for thing in scene.things
    ]  # fmt: skip
    x = np.arange(spec.width, dtype=np.float32) + 0.5 - spec.width / 2
    y = np.arange(spec.height, dtype=np.float32) + 0.5 - spec.height / 2
    gain = (1 + BARREL * _radius2(x[None], y[:, None], spec)) / (1 + BARREL) * FILL
    lens = ((x[None] * gain).astype(np.float32), (y[:, None] * gain).astype(np.float32))
    open_rows = np.flatnonzero(~scene.cabin.hidden.all(1))
    rows = int(open_rows[-1]) + 1 if len(open_rows) else spec.height
    scene.tables = {
        "quads": quads,
        "owner": owner,
        "ident": np.array(ident),
        "corners": corners,
        "speed": np.array([t.speed for t in scene.things])[owner],
        "two_sided": np.array([quad.two_sided for quad in quads]),
        "layer": np.array([("shadow", "solid", "glow").index(quad.kind) for quad in quads]),
        "texels": np.array([quad.texture.size[0] * quad.texture.size[1] for quad in quads], float),
        "bands": bands,
        "strip_bands": [2 * lanes[t.x > 0].index(abs(t.x)) + 1 for t in scene.strips],
        "lens": lens,
        "rows": rows,
        "canvas_rows": min(spec.height, int(lens[1][rows - 1].max() + spec.height / 2) + 12),
        "fog": np.full((spec.height, spec.width, 4), (*map(int, scene.light.haze), 255), np.uint8),
    }
    return scene


def _radius2(x, y, spec):
    """Squared distance from the centre, 1 at the corners."""
    return (x**2 + y**2) / ((spec.width**2 + spec.height**2) / 4)


class View:
    """Projection of one frame, and the two images drawn into: colour and identity."""

    def __init__(self, scene: Scene, index: int):
        spec = scene.spec
        self.scene, self.spec, self.tables = scene, spec, scene.tables
        self.time = index / FPS
        self.s = scene.speed * self.time
        pitch, self.roll, self.exposure, bounce = (float(v) for v in scene.sway[index])
        self.focal = FOCAL * spec.width
        self.eye = EYE + bounce
        self.cx, self.horizon = spec.width / 2, HORIZON * spec.height + pitch
        self.width, self.height = spec.width, self.tables["canvas_rows"]
        self.canvas = np.zeros((self.height, self.width, 4), np.uint8)
        self.ids = np.zeros((self.height, self.width), np.uint8)
        self.marked = (self.width, self.height, 0, 0)  # bounds of all that is labelled in ids
        self.travel = scene.speed * scene.light.shutter  # metres while the shutter is open
        # Rows of the ground at each depth, and the highest row that any nearer ground reaches.
        self.z = np.geomspace(NEAR, 900, 320)
        self.row = self.horizon + self.focal * (self.eye - self.climb(self.z)) / self.z
        self.crest = np.minimum.accumulate(self.row)

    def _wave(self, waves, z):
        """How far the road has left the tangent at the camera, at distance z."""
        total = np.zeros_like(z)
        for amplitude, length, phase in waves:
            k = 2 * np.pi / length
            here = self.s * k + phase
            total += amplitude * (np.sin(here + z * k) - np.sin(here) - np.cos(here) * k * z)
        return total

    def bend(self, z):
        return self._wave(self.scene.bends, z)

    def climb(self, z):
        return self._wave(self.scene.hills, z)

    def heading(self) -> float:
        return sum(
            a * 2 * np.pi / n * np.cos(self.s * 2 * np.pi / n + p) for a, n, p in self.scene.bends
        )

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) road coordinates with s relative to the camera -> (..., 2) canvas pixels."""
        z = np.maximum(points[..., 2], 1e-3)
        u = self.cx + self.focal * (points[..., 0] - self.scene.x + self.bend(z)) / z
        v = self.horizon + self.focal * (self.eye - points[..., 1] - self.climb(z)) / z
        return np.stack([u, v], -1)

    def haze(self, z):
        return 1 - np.exp(-np.maximum(z - CLEAR, 0) / self.scene.light.visibility)

    def hidden_below(self, z):
        """First row at which nearer ground hides what stands at depth z (behind a crest)."""
        at = np.clip(np.searchsorted(self.z, z), 0, len(self.z) - 1)
        open_ground = self.crest[at] >= self.row[at] - 0.5
        return np.where(open_ground, self.height, np.clip(self.crest[at], 0, self.height)).astype(
            int
        )


def render_frame(scene: Scene, index: int) -> tuple[np.ndarray, list[BoxRow]]:
    """Frame `index` of a prepared scene: RGB uint8 (height, width, 3) and its boxes."""
    view = View(scene, index)
    _draw_sky(view)
    _draw_ground(view)
    drawn = _draw_objects(view)
    return _through_the_glass(view, index), _boxes(view, index, drawn)


def _draw_sky(view):
    pano = view.scene.panorama
    room = (pano.shape[1] - view.width) / 2
    dx = room + np.clip(view.heading() * view.focal, -room, room)
    dy = round(view.spec.height * HORIZON) - view.horizon
    rows = min(view.height, int(view.crest.min()) + 4)
    view.canvas[:rows] = cv2.warpAffine(
        pano, np.float32([[1, 0, dx], [0, 1, dy]]), (view.width, rows),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip


def _draw_ground(view):
    """Inverse perspective, row by row: each row of the road lies at one depth."""
    ground = view.scene.ground
    ppm_x = ground.size[0] / (2 * backdrop.GROUND_HALF)
    ppm_y = ground.size[1] / backdrop.GROUND_LENGTH
    rows = np.arange(max(0, int(np.ceil(view.crest.min()))), view.height)
    fresh = np.r_[True, np.diff(view.crest) < 0]
    z = 1 / np.interp(-(rows + 0.5), -view.crest[fresh], 1 / view.z[fresh])
    step = np.maximum(np.abs(np.gradient(z)), view.travel)
    across = z / view.focal
    i = np.clip(np.round(np.log2(across * ppm_x)), 0, 6).astype(int)
    j = np.clip(np.round(np.log2(step * ppm_y)), 0, 7).astype(int)
    x0 = view.scene.x - view.bend(z) + backdrop.GROUND_HALF
    u = (np.arange(view.width) + 0.5 - view.cx).astype(np.float32)
    along = (view.s + z) % backdrop.GROUND_LENGTH
    haze = view.haze(z)
    if view.scene.drops:  # a wet road mirrors the sky at a grazing look
        haze = 1 - (1 - haze) * (1 - 0.34 * np.clip(z / 45, 0, 1))
    haze = haze.astype(np.float32)
    cuts = np.flatnonzero(np.diff(i * 16 + j)) + 1
    for a, b in zip(np.r_[0, cuts], np.r_[cuts, len(rows)], strict=True):
        level = ground.rip(int(i[a]), int(j[a]))
        kx, ky = ppm_x / 2 ** i[a], ppm_y / 2 ** j[a]
        map_x = np.multiply.outer((across[a:b] * kx).astype(np.float32), u)
        map_x += (x0[a:b] * kx - 0.5).astype(np.float32)[:, None]
        map_x = np.clip(map_x, 0, level.shape[1] - 1, out=map_x)
        map_y = np.repeat((along[a:b] * ky - 0.5).astype(np.float32)[:, None], view.width, 1)
        part = cv2.remap(level, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        if haze[a] > 0.004:
            share = np.repeat(haze[a:b, None], view.width, 1)
            part = cv2.blendLinear(part, view.tables["fog"][: b - a], 1 - share, share)
        view.canvas[rows[a] : rows[a] + (b - a)] = part


def _draw_objects(view) -> dict[int, Outline]:
    """Everything that stands on the ground, far to near.

    Slabs of an octave in depth go from far to near; within one, what lies further from the
    road goes first, because a ribbon hides all that stands behind it; then by depth. Returns
    track -> Outline of the labelled things.
    """
    jobs: list[Job] = []
    outlines: dict[int, Outline] = {}
    _queue_strips(view, jobs)
    _queue_things(view, jobs, outlines)
    wired = not view.scene.wires
    for job in sorted(jobs, key=lambda job: job[:4]):
        if not wired and job.slab > -WIRES_FROM_SLAB:
            _draw_wires(view)
            wired = True
        job.draw(view, *job.arguments)
    if not wired:
        _draw_wires(view)
    return outlines


def _queue_things(view, jobs: list[Job], outlines: dict[int, Outline]) -> None:
    tables, scene = view.tables, view.scene
    corners = tables["corners"].copy()
    corners[..., 2] += (tables["speed"] * view.time - view.s)[:, None]
    nearest, farthest = corners[..., 2].min(1), corners[..., 2].max(1)
    index = np.flatnonzero((farthest > NEAR) & (nearest < FAR))
    if not len(index):
        return
    corners, nearest = corners[index], nearest[index]
    spans = np.tile([0.0, 1.0], (len(index), 1))
    usable = np.ones(len(index), bool)
    for n in np.flatnonzero(nearest < NEAR):
        cut = _clip_near(corners[n])
        if cut is None:
            usable[n] = False
        else:
            corners[n], spans[n] = cut
    pixels = view.project(corners)
    low, high = pixels.min(1), pixels.max(1)
    following = np.roll(pixels, -1, 1)
    area = 0.5 * (pixels[..., 0] * following[..., 1] - following[..., 0] * pixels[..., 1]).sum(1)
    depth = corners[..., 2].mean(1)
    ident = tables["ident"][index]
    limit = view.hidden_below(np.maximum(depth, NEAR))
    shown = usable & (np.abs(area) > 0.4) & ((area > 0) | tables["two_sided"][index])
    shown &= (high[:, 0] > 0) & (high[:, 1] > 0) & (low[:, 0] < view.width)
    shown &= low[:, 1] < np.minimum(view.height, limit)
    shown &= (ident > 0) | (high[:, 1] - low[:, 1] > 1.2) & (depth < FAR)
    shrink = np.sqrt(
        tables["texels"][index] * (spans[:, 1] - spans[:, 0]) / np.maximum(np.abs(area), 0.1)
    )
    level = np.floor(np.log2(np.maximum(shrink, 1e-3)) + 0.35).astype(int)
    haze = view.haze(np.maximum(depth, NEAR))
    pace = view.travel * (1 - tables["speed"][index] / scene.speed) / np.maximum(nearest, 1.5)
    smear = np.abs(pace[:, None] * (pixels.mean(1) - (view.cx, view.horizon))).astype(int)
    owner = tables["owner"][index]
    layer = tables["layer"][index]
    sequence = np.lexsort((-depth, layer, owner))
    starts = np.r_[np.flatnonzero(np.r_[True, np.diff(owner[sequence]) > 0]), len(sequence)]
    # As Python's numbers: thousands of quads are looked at one by one, which NumPy does slowly.
    columns = (np.concatenate([low, high], 1), level, haze, smear, limit, ident, layer == 1)
    values = list(zip(*(column.tolist() for column in columns), strict=True))
    for a, b in pairwise(starts):
        group = sequence[a:b].tolist()
        thing = scene.things[owner[group[0]]]
        z = thing.s + thing.speed * view.time - view.s
        patches = [
            Patch(tables["quads"][index[k]], pixels[k], bounds, spans[k], *others)
            for k in group
            if shown[k]
            for bounds, *others in [values[k]]
        ]
        if not patches:
            continue
        points = None
        if thing.label:
            mine = [k for k in group if ident[k] and usable[k]]
            points = _edge_points(pixels[mine]) if mine else None
        slab = max(0, int(np.floor(np.log2(max(z, NEAR)))))
        band = tables["bands"][owner[group[0]]]
        arguments = (patches, thing, points, z, outlines)
        jobs.append(Job(-slab, -band, -z, len(jobs), _draw_thing, arguments))


def _draw_thing(view, patches: list[Patch], thing: Thing, points, z: float, outlines) -> None:
    for patch in patches:
        _draw_patch(view, patch)
    if points is not None:
        pixels = _pixels(view, thing.track, points)
        outlines[thing.track] = Outline(thing, points, pixels, z)


def _edge_points(quads: np.ndarray) -> np.ndarray:
    """(n, 4, 2) quads -> points along their edges: the lens bends straight lines."""
    part = np.array([0, 0.25, 0.5, 0.75])[:, None, None, None]
    return (quads + (np.roll(quads, -1, 1) - quads) * part).reshape(-1, 2)


def _pixels(view, track, points) -> int:
    """How many canvas pixels a thing has now; later ones may hide some of them."""
    low, high = np.floor(points.min(0)).astype(int) - 1, np.ceil(points.max(0)).astype(int) + 1
    low = np.maximum(low, 0)
    return int(
        np.count_nonzero(view.ids[low[1] : max(0, high[1]), low[0] : max(0, high[0])] == track)
    )


def _clip_near(corners):
    """Cut a quad at the near plane along its texture's width; None when nothing is left."""
    left, right = corners[[0, 3], 2].mean(), corners[[1, 2], 2].mean()
    if max(left, right) <= NEAR or abs(left - right) < 1e-6:
        return None
    t = (NEAR + 0.05 - left) / (right - left)
    if not 0 <= t <= 1:
        return None
    low, high = (t, 1.0) if left < right else (0.0, t)
    tl, tr, br, bl = corners
    out = np.stack(
        [tl + (tr - tl) * low, tl + (tr - tl) * high, bl + (br - bl) * high, bl + (br - bl) * low]
    )
    out[:, 2] = np.maximum(out[:, 2], NEAR)
    return out, (low, high)


def _draw_patch(view, patch: Patch) -> None:
    """Warp one textured quad into the canvas."""
    points, (x0, y0, x1, y1) = patch.points, patch.bounds
    fade, width = 1.0, x1 - x0
    if width < 1.6:  # thinner than a pixel: keep a width, lower the cover
        fade = max(width, 0.02) / 1.6
        centre = (x0 + x1) / 2
        points = (points - (centre, 0)) * (1.6 / max(width, 0.02), 1.0) + (centre, 0)
    elif min(width, y1 - y0) > 8:  # closes the seams between faces
        points = points + np.sign(points - points.mean(0)) * 0.3
    bx, by = min(41, patch.smear[0]), min(25, patch.smear[1])
    left, top = max(0, int(x0) - 2 - bx), max(0, int(y0) - 2 - by)
    right = min(view.width, int(x1) + 3 + bx)
    low = min(view.height, patch.limit, int(y1) + 3 + by)
    if right <= left or low <= top:
        return
    levels = patch.quad.texture.levels
    image = levels[min(max(patch.level, 0), len(levels) - 1)]
    h, w = image.shape[:2]
    a, b = patch.span[0] * w - 0.5, patch.span[1] * w - 0.5
    source = np.array([(a, -0.5), (b, -0.5), (b, h - 0.5), (a, h - 0.5)], np.float32)
    target = (points - (left + 0.5, top + 0.5)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target)
    rgba = cv2.warpPerspective(image, matrix, (right - left, low - top), flags=cv2.INTER_LINEAR)
    if bx > 1 or by > 1:
        rgba = cv2.blur(rgba, (max(1, bx), max(1, by)), borderType=cv2.BORDER_CONSTANT)
    if fade < 1:
        rgba = cv2.convertScaleAbs(rgba, alpha=fade)
    ident = patch.ident if patch.solid else None
    _blend(view, left, top, right, low, rgba, patch.haze, ident)


def _blend(view, left, top, right, low, rgba, haze, ident):
    """Lay a premultiplied image over the canvas, faded into the haze of its distance.

    `ident` is written where the image covers; None leaves the identities as they are.
    """
    target = view.canvas[top:low, left:right]
    cover = cv2.extractChannel(rgba, 3)
    cover4 = cv2.merge((cover, cover, cover, cover))
    cv2.multiply(target, cv2.bitwise_not(cover4), target, 1 / 255)
    if haze > 0.01:
        fog = cv2.multiply(cover4, view.tables["fog"][: low - top, : right - left], None, 1 / 255)
        rgba = cv2.addWeighted(rgba, 1 - haze, fog, haze, 0)
    cv2.add(target, rgba, target)
    if ident is None:
        return
    l0, t0, r0, b0 = view.marked
    if ident:
        view.marked = min(l0, left), min(t0, top), max(r0, right), max(b0, low)
        # Half of the fullest cover: thin and blurred parts never cover a pixel in full.
        view.ids[top:low, left:right][cover > max(16, cv2.minMaxLoc(cover)[1] * 0.5)] = ident
    elif left < r0 and l0 < right and top < b0 and t0 < low:  # hides something labelled
        x0, x1, y0, y1 = max(left, l0), min(right, r0), max(top, t0), min(low, b0)
        part = cover[y0 - top : y1 - top, x0 - left : x1 - left]
        view.ids[y0:y1, x0:x1][part > 127] = 0


def _queue_strips(view, jobs: list[Job]) -> None:
    """Cut the ribbons at CUTS and queue each piece that the camera sees."""
    ribbons, depths, points = [], [], []
    for strip, band in zip(view.scene.strips, view.tables["strip_bands"], strict=True):
        low, high = max(NEAR, strip.s0 - view.s), min(FAR, strip.s1 - view.s)
        if high <= low + 0.05:
            continue
        a, b = np.searchsorted(CUTS, (low, high)).tolist()
        ends = [low, *(cut for cut in CUTS[a:b].tolist() if low < cut < high), high]
        ribbons.append((strip, band, len(ends)))
        depths += ends
        points += [(strip.x, 0.0)] * len(ends)
    if not ribbons:
        return
    z = np.array(depths)
    feet = view.project(np.column_stack([np.array(points), z])).tolist()
    limits, hazes = view.hidden_below(z).tolist(), view.haze(z).tolist()
    slabs = np.maximum(0, np.log2(z * 1.001)).astype(int).tolist()
    start = 0
    for strip, band, count in ribbons:
        for k in range(start, start + count - 1):
            u0, u1 = feet[k][0], feet[k + 1][0]
            if max(u0, u1) <= 0 or min(u0, u1) >= view.width or round(u0) == round(u1):
                continue
            haze = (hazes[k] + hazes[k + 1]) / 2
            piece = (strip, depths[k], depths[k + 1], feet[k], feet[k + 1], limits[k], haze)
            # Within the slab the farther piece goes first.
            jobs.append(Job(-slabs[k], -band, -depths[k], len(jobs), _draw_piece, piece))
        start += count


def _draw_piece(view, strip, z0, z1, a, b, limit, haze):
    """One piece of a ribbon: a plane between two depths, drawn in whole columns."""
    (u0, v0), (u1, v1) = a, b
    left = max(0, int(np.ceil(min(u0, u1) - 0.5)))
    right = min(view.width, int(np.ceil(max(u0, u1) - 0.5)))
    tall0, tall1 = strip.height * view.focal / z0, strip.height * view.focal / z1
    top = max(0, int(min(v0 - tall0, v1 - tall1)) - 1)
    low = min(view.height, limit, int(max(v0, v1)) + 2)
    if right <= left or low <= top:
        return
    step = max((z1 - z0) / max(1.0, abs(u1 - u0)), view.travel)
    i = min(7, max(0, round(np.log2(max(1e-3, step * strip.ppm)))))
    j = min(5, max(0, round(np.log2(max(1e-3, strip.ppm * (z0 * z1) ** 0.5 / view.focal)))))
    start = (view.s + z0) % strip.length + strip.length
    image = strip.texture.ribbon(i, j, int(np.ceil((start + z1 - z0) / strip.length)) + 1)
    k = strip.texture.rip(i, j).shape[1] / strip.length
    p, q, h = start * k - 0.5, (start + z1 - z0) * k - 0.5, image.shape[0] - 0.5
    source = np.array([(p, -0.5), (q, -0.5), (q, h), (p, h)], np.float32)
    x, y = left + 0.5, top + 0.5
    target = np.array(
        [(u0 - x, v0 - tall0 - y), (u1 - x, v1 - tall1 - y), (u1 - x, v1 - y), (u0 - x, v0 - y)],
        np.float32,
    )
    matrix = cv2.getPerspectiveTransform(source, target)
    rgba = cv2.warpPerspective(image, matrix, (right - left, low - top), flags=cv2.INTER_LINEAR)
    _blend(view, left, top, right, low, rgba, haze, 0)


def _draw_wires(view):
    """Power lines: thin, so drawn as lines, already faded into the haze."""
    colour = (*(0.5 * sprites.as_rgb(view.scene.light.haze) + 16).tolist(), 255.0)
    s = np.arange(3.0, 260.0, 4.0)
    for wire in view.scene.wires:
        phase = ((s + view.s - wire.start) % wire.step) / wire.step
        sag = wire.y - 4.8 * phase * (1 - phase)
        points = view.project(np.stack([np.full_like(s, wire.x), sag, s], 1))
        at = np.clip(np.round(points * 8), -60000, 60000).astype(np.int32)
        cv2.polylines(view.canvas, [at], False, colour, 1, cv2.LINE_AA, 3)


def _through_the_glass(view, index) -> np.ndarray:
    """Lens, windscreen, sensor: the canvas becomes the frame that a dashcam records."""
    scene, spec, rows = view.scene, view.spec, view.tables["rows"]
    map_x, map_y = _look(view, slice(0, rows), slice(None))
    gain = scene.cabin.gain[:rows]
    offset = np.random.default_rng([spec.seed, 7, index]).integers(0, 96, 4)
    if scene.streaks is not None:
        dx, dy = int(offset[2]) * 2, int(offset[3]) * 2
        rain = scene.streaks[dy : dy + view.height, dx : dx + view.width]
        cv2.add(view.canvas, rain, view.canvas)
    if scene.drops:
        gain = gain.copy()
        _wet_glass(scene, index, map_x, map_y, gain)
    image = np.zeros((spec.height, spec.width, 4), np.uint8)
    image[:rows] = cv2.remap(
        view.canvas, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    cv2.multiply(image[:rows], gain, image[:rows], view.exposure / 255)
    cv2.add(image, scene.cabin.add, image)
    grain = scene.grain[offset[0] : offset[0] + spec.height, offset[1] : offset[1] + spec.width]
    if scene.tone is not None:
        image = cv2.LUT(image, scene.tone)
        soft = cv2.GaussianBlur(image, (0, 0), 1.0)
        image = cv2.addWeighted(image, 1 + scene.sharpening, soft, -scene.sharpening, 0)
    image = cv2.addWeighted(image, 1, grain, 1, -128)
    return cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)


def _look(view, rows, columns):
    """Where output pixels look in the canvas (pixel centres), as float32 maps."""
    base_x, base_y = (table[rows, columns] for table in view.tables["lens"])
    map_x = cv2.scaleAdd(base_y, -view.roll, base_x)
    map_y = cv2.scaleAdd(base_x, view.roll, base_y)
    map_x += view.spec.width / 2 - 0.5
    map_y += view.spec.height / 2 - 0.5
    return map_x, map_y


def _wet_glass(scene, index, map_x, map_y, gain):
    """Bend the view at every drop that the wiper has not taken since it fell."""
    now, (rows, width) = index / FPS, map_x.shape
    period, stroke = 1.7, 0.55  # s
    for drop in scene.drops:
        x, y = drop.x, drop.y
        passes = x / width * stroke
        wiped = np.floor((now - passes) / period) * period + passes
        if not wiped < drop.born <= now:
            continue
        h, w = min(drop.shade.shape[0], rows - y), min(drop.shade.shape[1], width - x)
        if h <= 0 or w <= 0:
            continue
        map_x[y : y + h, x : x + w] += drop.bend_x[:h, :w]
        map_y[y : y + h, x : x + w] += drop.bend_y[:h, :w]
        roi = gain[y : y + h, x : x + w]
        cv2.multiply(roi, drop.shade[:h, :w], roi, 1 / 255)


def _distort(points: np.ndarray, spec, roll: float) -> np.ndarray:
    """Canvas -> output image, both in pixels with continuous edges; (N, 2). Inverts `_look`."""
    centre = np.array([spec.width / 2, spec.height / 2])
    p = points - centre
    p = np.stack([p[:, 0] + roll * p[:, 1], p[:, 1] - roll * p[:, 0]], 1) / (1 + roll * roll)
    p *= (1 + BARREL) / FILL
    far = np.sqrt(_radius2(p[:, 0], p[:, 1], spec)) + 1e-9
    r = far / (1 + BARREL * np.minimum(far, 1.0) ** 2)
    for _ in range(8):  # Newton: r (1 + BARREL r^2) = far
        r -= (r * (1 + BARREL * r**2) - far) / (1 + 3 * BARREL * r**2)
    return p * (r / far)[:, None] + centre


def _boxes(view, index: int, drawn: dict[int, Outline]) -> list[BoxRow]:
    """Tight boxes of what can be seen, in the output image.

    The sides come from the projected outline. Where an end of the object is hidden (a hedge
    before the column's foot, the dashboard), the side moves to what is seen, as a labeller
    would draw it.
    """
    spec = view.spec
    lines = spec.height / 720
    rows: list[BoxRow] = []
    if not drawn:
        return rows
    tracks = sorted(drawn)
    outlines = _distort(np.concatenate([drawn[t].points for t in tracks]), spec, view.roll)
    ends = np.cumsum([len(drawn[t].points) for t in tracks])
    for track, points in zip(tracks, np.split(outlines, ends[:-1]), strict=True):
        outline = drawn[track]
        low, high = points.min(0), points.max(0)
        full = np.concatenate([np.maximum(low, 0), np.minimum(high, (spec.width, spec.height))])
        width, height = (full[2:] - full[:2]).tolist()
        if outline.pixels == 0 or width < 1 or height < LISTED_HEIGHT * lines:
            continue
        left, top = np.floor(full[:2]).astype(int)
        right, bottom = np.ceil(full[2:]).astype(int)
        roi = (slice(top, bottom), slice(left, right))
        map_x, map_y = _look(view, *roi)
        ids = cv2.remap(view.ids, map_x, map_y, cv2.INTER_NEAREST, borderValue=0)
        seen = (ids == track) & ~view.scene.cabin.hidden[roi]
        if not seen.any():
            continue
        # What is beside the camera has no end in the image plane: count it up to a margin only.
        size = np.array([spec.width, spec.height])
        whole = np.minimum(high, (1 + MARGIN) * size) - np.maximum(low, -MARGIN * size)
        inside = float(np.prod(full[2:] - full[:2]) / max(1e-6, np.prod(whole)))
        # The part that nearer things do not hide.
        behind = _pixels(view, track, outline.points) / outline.pixels
        visible = float(inside * behind * seen.sum() / max(1, np.count_nonzero(ids == track)))
        across, down = np.flatnonzero(seen.any(0)), np.flatnonzero(seen.any(1))
        sides = (left + across[0], top + down[0], left + across[-1] + 1, top + down[-1] + 1)
        xmin, ymin, xmax, ymax = (
            float(a if abs(a - b) <= HIDDEN_END else b) for a, b in zip(full, sides, strict=True)
        )
        height = ymax - ymin
        if visible < LISTED_VISIBILITY or height < LISTED_HEIGHT * lines:
            continue
        difficult = int(height < DIFFICULT_HEIGHT * lines or visible < DIFFICULT_VISIBILITY)
        label, distance = outline.thing.label, float(outline.distance)
        assert label is not None  # only what has one is outlined
        box = (xmin, ymin, xmax, ymax)
        rows.append(BoxRow(index, track, label, *box, distance, visible, difficult))
    return rows
