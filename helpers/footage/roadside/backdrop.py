"""What the camera drives through: woods, walls and rails, the road, the sky, the cabin.

Ribbons along the road are textures that tile; the road is one texture seen from above; the sky
with its hills is one wide picture; the cabin is what the windscreen adds and takes away.
"""

from typing import NamedTuple

import cv2
import numpy as np

from helpers.footage.roadside.sprites import (
    Light,
    Sky,
    Texture,
    as_rgb,
    dye,
    noise,
    plain,
    spread,
    texture,
    unit,
    weathered,
)


def tree_image(rng, bare: bool, conifer: bool, size: int = 320):
    """(RGB, alpha) of one tree, unlit, trunk at the bottom middle."""
    conifer = conifer and not bare
    h, w = size, int(size * (0.45 if conifer else 0.85))
    mask = np.zeros((h, w), np.uint8)
    trunk = h * (0.9 if conifer else 0.27)
    _branch(rng, mask, w / 2, h - 1, -np.pi / 2, trunk, max(2.0, h / 42), 0, bare)
    branches = mask.astype(np.float32) / 255
    image = plain(h, w, (70, 63, 57))
    y, x = np.mgrid[0 : 1 : h * 1j, -1 : 1 : w * 1j]
    if bare:
        # Twigs too fine to draw: a veil that follows the branches, with a fibrous grain.
        veil = cv2.blur(cv2.blur(branches, (h // 14 | 1,) * 2), (h // 22 | 1,) * 2) * 3.2
        fibre = np.clip(0.55 + 0.5 * noise(rng, h, w, (5, 3), 2), 0, 1)
        image *= spread(1 + 0.2 * noise(rng, h, w, 30, 3))
        twigs = np.clip(veil, 0, 0.85) * fibre * (y < 0.8)
        return image, np.maximum(branches, twigs)
    ragged = noise(rng, h, w, size / 6, 5, 0.7)
    if conifer:
        reach = np.clip(y * 1.05 - 0.02, 0, 1) * (0.85 + 0.15 * np.abs(np.sin(y * 26))) - np.abs(x)
        crown = np.clip((reach + 0.16 * ragged) * 9, 0, 1) * (y < 0.95)
        leaf = as_rgb((38, 54, 40))
    else:
        r = np.hypot(x * 1.12, (y - 0.44) * 2.3)
        crown = np.clip((0.80 - r + 0.26 * ragged) * 7, 0, 1)
        leaf = as_rgb(((70, 80, 46), (86, 82, 50), (60, 72, 44))[rng.integers(3)])
    clump = noise(rng, h, w, size / 9, 4, 0.7)
    shade = 0.95 + 0.55 * clump - 0.45 * (y - 0.4) + 0.22 * noise(rng, h, w, 3, 1)
    crown = crown * np.clip(4 - 4 * noise(rng, h, w, 10, 2), 0, 1)
    image += (dye(np.clip(shade, 0.15, 1.8), leaf) - image) * spread(crown)
    return image.astype(np.float32), np.maximum(crown, branches * (y > 0.55) * (np.abs(x) < 0.25))


def _branch(rng, mask, x, y, angle, length, width, depth, bare):
    x1, y1 = x + np.cos(angle) * length, y + np.sin(angle) * length
    a, b = (round(x * 8), round(y * 8)), (round(x1 * 8), round(y1 * 8))
    cv2.line(mask, a, b, 255 if width > 1.2 else 190, max(1, round(width)), cv2.LINE_AA, 3)
    if depth >= (6 if bare else 3) or length < 4:
        return
    for _ in range(3 if depth < 3 else 2):
        turn = rng.normal(0, 0.5)
        _branch(
            rng,
            mask,
            x1,
            y1,
            angle + turn,
            length * rng.uniform(0.6, 0.85),
            width * 0.66,
            depth + 1,
            bare,
        )


def strip_texture(rng, sky: Sky, kind: str, side: int) -> tuple[Texture, float, float, float]:
    """(texture, height m, texture length m, px per metre) of a ribbon along the road.

    `side`: -1 left, 1 right; sets which way the surface faces.
    """
    light = sky.on(unit((-side, 0.35, -0.35)))
    if kind == "rail":
        height, length, ppm = 0.80, 8.0, 64.0
        h, w = round(height * ppm), round(length * ppm)
        y = np.linspace(height, 0, h)[:, None] + np.zeros((1, w))
        x = np.linspace(0, length, w)[None]
        wave = np.interp(
            y[:, :1],
            [0.42, 0.47, 0.53, 0.585, 0.64, 0.70, 0.75],
            [0.5, 1.25, 0.8, 0.42, 1.2, 1.0, 0.6],
        )
        image = weathered(rng, h, w, (146, 149, 152), 0.10, 0.0) * wave[..., None]
        image *= spread(1 + 0.10 * noise(rng, h, w, (h, 120), 3))
        seam = np.abs((x % 4.0) - 2.0) < 0.02
        image *= np.where(seam, 0.55, 1.0)[..., None]
        alpha: np.ndarray = ((y > 0.42) & (y < 0.75)).astype(np.float32)
        posts = (np.abs((x % 2.0) - 1.0) < 0.055) & (y < 0.44)
        image[posts] = as_rgb((88, 90, 92))
        alpha = cv2.blur(np.maximum(alpha, posts.astype(np.float32)), (3, 3))
        light = sky.on(unit((-side, 0.5, -0.4)))
    elif kind == "wall":
        height, length, ppm = rng.uniform(2.6, 4.2), 16.0, 40.0
        h, w = round(height * ppm), round(length * ppm)
        colour = ((120, 100, 78), (140, 140, 134), (104, 112, 98))[rng.integers(3)]
        image = weathered(rng, h, w, colour, 0.2, 0.0)
        x = np.arange(w) / ppm
        boards = 1 + 0.12 * np.sign(np.sin(x * np.pi / 0.16)) * (
            np.abs(np.sin(x * np.pi / 0.16)) > 0.2
        )
        image *= boards[None, :, None]
        image *= spread(
            1 + 0.06 * np.sign(noise(rng, 1, w, 120, 1)) + 0.1 * noise(rng, h, w, 200, 4)
        )
        posts = np.abs((x % 4.0) - 2.0) < 0.09
        image[:, posts] = image[:, posts] * 0.4 + as_rgb((60, 60, 60))
        image[:3] *= 0.6
        alpha = np.ones((h, w), np.float32)
    elif kind in ("hedge", "bushes"):
        tall = (1.1, 1.9) if kind == "hedge" else (0.7, 1.5)
        height, length, ppm = rng.uniform(*tall), 16.0, 56.0
        h, w = round(height * ppm * 1.12), round(length * ppm)
        height *= 1.12
        leaves = as_rgb(((70, 66, 46), (52, 66, 38), (84, 66, 52))[rng.integers(3)])
        clump, leaf = noise(rng, h, w, 34, 4, 0.75), noise(rng, h, w, 3, 2)
        y = np.linspace(1, 0, h)[:, None]
        shade = np.clip(0.75 + 0.4 * clump + 0.35 * leaf + 0.5 * (y - 0.55), 0.1, 2.0)
        image = dye(shade, leaves)
        top = 0.90 + 0.05 * noise(rng, 1, w, 60, 4) + 0.05 * noise(rng, h, w, 4, 2)
        alpha = np.clip((top - y) * 20 + 0.5, 0, 1)
    elif kind == "fence":
        height, length, ppm = 1.6, 8.0, 56.0
        h, w = round(height * ppm), round(length * ppm)
        image = plain(h, w, (96, 100, 96))
        column, row = np.arange(w)[None], np.arange(h)[:, None]
        wire = ((column % 6 < 1) | (row % 8 < 1)).astype(np.float32) * 0.55
        alpha = np.maximum(wire, (np.abs(column / ppm % 2.0 - 1.0) < 0.04) + 0.0 * row)
    else:  # a line of trees
        height, length, ppm = rng.uniform(8, 13), 48.0, 20.0
        h, w = round(height * ppm), round(length * ppm)
        image, alpha = _woods(rng, h, w, bare=kind == "woods_bare")
        light = sky.on(unit((-side, 0.6, -0.3)))
    return texture(image * light, alpha, 1), height, length, ppm


def _woods(rng, h, w, bare):
    """(RGB, alpha) of the edge of a wood: undergrowth, then trees, the nearer ones lighter."""
    image = plain(h, w, (56, 53, 46))
    image *= spread(0.75 + 0.3 * noise(rng, h, w, 20, 3))
    y = np.linspace(1, 0, h)[:, None]
    edge = 0.34 + 0.1 * noise(rng, 1, w, 60, 3) + 0.08 * noise(rng, h, w, 8, 2)
    alpha = np.clip((edge - y) * 12, 0, 1)
    trees = [
        tree_image(rng, bare, not bare and rng.random() < 0.3, int(h * rng.uniform(0.7, 1.0)))
        for _ in range(7)
    ]
    count = int(w / h * (11 if bare else 6))
    for i in range(count):
        tree, mask = trees[rng.integers(len(trees))]
        if rng.random() < 0.5:
            tree, mask = tree[:, ::-1], mask[:, ::-1]
        th, tw = mask.shape
        columns = (int(rng.integers(0, w)) + np.arange(tw)) % w
        part = image[h - th :, columns]
        tree = tree * (0.65 + 0.45 * i / count)
        image[h - th :, columns] = part + (tree - part) * spread(mask)
        below = alpha[h - th :, columns]
        alpha[h - th :, columns] = mask + below * (1 - mask)
    return image, alpha


GROUND_HALF = 24.0  # metres to each side that the ground texture covers
GROUND_LENGTH = 48.0  # metres until it repeats; a multiple of every dash period
GROUND_PPM = (40.0, 20.0)  # px per metre across and along


def ground_texture(rng, sky: Sky, lanes: dict, detail: float = 1.0) -> Texture:
    """The road and its verges from above. Rows run forwards, columns left to right.

    `detail` scales the resolution, for small frames.
    """
    across, along = GROUND_PPM[0] * detail, GROUND_PPM[1] * detail
    h, w = round(GROUND_LENGTH * along / 4) * 4, round(2 * GROUND_HALF * across / 4) * 4
    x = ((np.arange(w) + 0.5) / across - GROUND_HALF).astype(np.float32)
    fine = noise(rng, h, w, 2, 1)
    broad = noise(rng, h, w, 160 * detail, 3)
    grass = ((88, 86, 60), (100, 93, 68), (72, 80, 54))[rng.integers(3)]
    soil = np.clip(noise(rng, h, w, (90 * detail, 50 * detail), 3) * 0.72 - 0.12, 0, 0.6)
    shade = 1 + 0.16 * broad + 0.28 * noise(rng, h, w, 10 * detail, 3, 0.8)
    edge = 0.12 * noise(rng, h, 1, 40 * detail, 3)
    wear = np.clip(0.92 + 0.35 * noise(rng, h, w, 6 * detail, 2) + 0.25 * broad, 0.25, 1)
    gloss = _road_marks(rng, h, w, x, lanes, broad, across, along)
    paint_mask = _lane_lines(h, w, x, lanes, across, along) * wear
    wet = 0.74 if sky.light.name == "rain" else 1.0
    light = sky.on((0, 1, 0))
    planes = []
    for c in range(3):
        plane = grass[c] * shade
        plane += ((104, 88, 68)[c] * shade - plane) * soil
        for x0, x1, tone in lanes["asphalt"]:
            a, b = (int(np.clip((v + GROUND_HALF) * across, 0, w)) for v in (x0 - 1, x1 + 1))
            at = x[a:b]
            mask = np.clip((at - x0 + edge) * 8, 0, 1) * np.clip((x1 + edge - at) * 8, 0, 1)
            dust = 0.45 * np.clip(
                np.exp(-(((at - x0) / 0.4) ** 2)) + np.exp(-(((at - x1) / 0.4) ** 2)), 0, 1
            )
            tar = (wet * tone * (1, 1, 1.03)[c]) * (1 + 0.05 * broad[:, a:b] + 0.09 * fine[:, a:b])
            tar += ((112, 104, 88)[c] - tar) * dust
            plane[:, a:b] += (tar * gloss[:, a:b] - plane[:, a:b]) * mask
        plane += ((216, 216, 212)[c] - plane) * paint_mask
        planes.append(plane * light[c])
    return texture(cv2.merge(planes), None, 1)


def _road_marks(rng, h, w, x, lanes, broad, across, along):
    """(h, w) factor on the asphalt: wheel tracks, oil, tar seams, patches."""
    dark = np.zeros(w, np.float32)
    oil = np.ones(w, np.float32)
    for centre in lanes["centres"]:
        for wheel in (-0.75, 0.75):
            dark += np.exp(-(((x - centre - wheel) / 0.28) ** 2))
        oil *= 1 - 0.07 * np.exp(-(((x - centre) / 0.22) ** 2))
    factor = (1 - 0.10 * dark * (1 + 0.4 * broad)) * oil
    layer = np.zeros((h, w), np.uint8)
    x0, x1, _ = lanes["asphalt"][0]
    for _ in range(7):  # tar seams, dark and glossy
        px, py = rng.uniform(x0, x1), rng.uniform(0, GROUND_LENGTH)
        points = [(px, py)]
        for _ in range(int(rng.integers(4, 12))):
            px, py = px + rng.normal(0, 0.25), py + rng.uniform(0.2, 1.5)
            points.append((px, py))
        at = np.int32([((px + GROUND_HALF) * across, py * along) for px, py in points])
        cv2.polylines(layer, [at], False, 255, max(1, round(across / 20)), cv2.LINE_AA)
    factor *= 1 - layer.astype(np.float32) * (0.35 / 255)
    for _ in range(int(rng.integers(1, 4))):  # patches
        a = round((rng.uniform(x0, x1 - 2) + GROUND_HALF) * across)
        b = round(rng.uniform(0, GROUND_LENGTH - 8) * along)
        width, length = round(rng.uniform(0.8, 2.0) * across), round(rng.uniform(2, 8) * along)
        factor[b : b + length, a : a + width] *= rng.uniform(0.80, 1.12)
    return factor


def _lane_lines(h, w, x, lanes, across, along):
    """(h, w) cover 0..1 of the painted lines."""
    cover = np.zeros((h, w), np.float32)
    s = (np.arange(h) + 0.5) / along
    for at, width, dash, gap in lanes["lines"]:
        a, b = (round((at + side * width + GROUND_HALF) * across) for side in (-1, 1))
        mask = np.clip((width / 2 - np.abs(x[a:b] - at)) * across + 0.5, 0, 1)[None]
        if gap:
            phase = s % (dash + gap)
            mask = mask * np.clip(np.minimum(phase, dash - phase) * along + 0.5, 0, 1)[:, None]
        cover[:, a:b] = np.maximum(cover[:, a:b], mask)
    return cover


def sky_panorama(rng, sky: Sky, width: int, height: int, horizon: int, focal: float) -> np.ndarray:
    """(height, width, 4) uint8: sky, distant hills and woods; row `horizon` is the eye level."""
    light = sky.light
    small = 2  # drawn at half size: clouds are soft anyway
    h, w, hz = height // small, width // small, horizon / small
    elevation = np.clip((hz - np.arange(h)) / hz, 0, 1)[:, None]
    top, low = as_rgb(light.sky_top), as_rgb(light.sky_low)
    image = low + (top - low) * (elevation ** (0.55 if light.name != "dusk" else 0.36))[
        ..., None
    ] * np.ones((1, w, 1), np.float32)
    # Clouds: noise on a plane overhead, so that they crowd towards the horizon.
    n = 1024
    field = noise(rng, n, n, 256, 6, 0.6)
    v = np.maximum(elevation, 0.02)
    depth = (0.16 / (v + 0.05)).astype(np.float32)
    u = (np.linspace(-1.4, 1.4, w)[None] * depth * 900 + 512).astype(np.float32)
    t = (depth * 900 + np.zeros((1, w))).astype(np.float32)
    clouds = cv2.remap(field, u % (n - 1), t % (n - 1), cv2.INTER_LINEAR)
    if light.cloud < 0.5:
        clouds = np.clip((clouds - 0.9 + 1.6 * light.cloud) * 1.1, 0, 1) * np.clip(v * 6, 0.2, 1)
        if light.name == "sun":
            tint = as_rgb((236, 236, 238))
        else:  # lit from below near the horizon, grey above
            tint = as_rgb((104, 84, 98)) + as_rgb((110, 46, 4)) * np.exp(-v * 6)[..., None]
        image += (tint - image) * spread(0.75 * clouds)
    else:
        image *= spread(
            1 + (0.085 if light.name != "fog" else 0.015) * clouds * np.clip(v * 4, 0, 1)
        )
    if light.name == "sun":
        for _ in range(int(rng.integers(2, 6))):  # contrails that have spread
            trail = np.zeros((h, w), np.uint8)
            a, b = rng.integers(0, w, 2), rng.integers(0, int(hz * 0.8), 2)
            cv2.line(
                trail,
                (int(a[0]), int(b[0])),
                (int(a[1]), int(b[1])),
                255,
                int(rng.integers(1, 4)),
                cv2.LINE_AA,
            )
            soft = cv2.GaussianBlur(trail.astype(np.float32) / 255, (0, 0), rng.uniform(1.5, 4))
            soft *= np.clip(0.5 + 0.6 * noise(rng, h, w, 60, 3), 0, 1)
            image += (as_rgb((240, 240, 242)) - image) * spread(0.55 * soft)
        glow_x = w / 2 + sky.sun[0] * w * 0.6
        y, x = np.ogrid[:h, :w]
        d = np.hypot(x - glow_x, y - hz * 0.35) / w
        if sky.sun[2] > 0:
            image += (as_rgb((255, 248, 226)) - image) * spread(0.75 * np.exp(-d * 7))
    if light.name == "dusk":
        glow = np.exp(-(((np.arange(w) / w - 0.5 - sky.sun[0] * 0.3) / 0.3) ** 2))[None] * np.exp(
            -elevation * 5
        )
        image += (as_rgb((255, 176, 96)) - image) * spread(0.6 * glow)
    haze = as_rgb(light.haze)
    image += (
        (haze - image) * np.exp(-elevation * (9 if light.visibility > 400 else 4))[..., None] * 0.65
    )
    rows = np.arange(h)[:, None]
    for distance, lift in ((9000, 0.080), (2600, 0.045), (900, 0.026)):
        ridge = noise(
            rng, 1, w, w / 3, 5 if distance > 5000 else 7, 0.5 if distance > 5000 else 0.62
        )[0]
        crest = hz - focal / small * lift * np.clip(0.55 + 0.5 * ridge, 0.05, 1.5)
        mask = np.clip(rows - crest[None] + 0.5, 0, 1)
        colour = (
            as_rgb((70, 78, 58))
            * (1 + 0.2 * noise(rng, h, w, 5, 2))[..., None]
            * sky.on((0, 0.7, -0.7))
        )
        fade = 1 - np.exp(-distance / (light.visibility * 2.6))
        image += (colour + (haze - colour) * fade - image) * spread(mask)
        if distance < 3000:
            _skyline(rng, image, crest, hz, haze, fade, sky)
    image[rows[:, 0] > hz + 2] = image[min(h - 1, int(hz) + 1)]
    out = cv2.resize(np.clip(image, 0, 255), (width, height), interpolation=cv2.INTER_CUBIC)
    out += rng.normal(0, 0.7, (height, width, 1)).astype(np.float32)  # keeps gradients from banding
    return cv2.cvtColor(np.clip(out + 0.5, 0, 255).astype(np.uint8), cv2.COLOR_RGB2RGBA)


def _skyline(rng, image, crest, horizon, haze, fade, sky):
    """A few roofs and halls before the hills."""
    w = image.shape[1]
    for _ in range(int(rng.integers(3, 10))):
        x, bw, bh = int(rng.integers(0, w - 30)), int(rng.integers(5, 34)), int(rng.integers(2, 6))
        y = int(horizon) - bh
        colour = as_rgb(((176, 170, 160), (120, 84, 70), (204, 204, 204))[rng.integers(3)])
        colour = colour * sky.on((0, 0.3, -0.9))
        image[y : int(horizon), x : x + bw] = colour + (haze - colour) * fade
        image[y : y + 1, x : x + bw] *= 0.8


class Cabin(NamedTuple):
    """What windscreen and dashboard do to the view."""

    gain: np.ndarray  # (height, width, 4) uint8, multiplies: 255 is clear
    add: np.ndarray  # (height, width, 4) uint8, is added
    hidden: np.ndarray  # (height, width) bool: the car's inside covers the road


def cabin(rng, width: int, height: int, light: Light) -> Cabin:
    """Draw windscreen and dashboard: at half size, since the lens has them out of focus."""
    gain, inside, cover = _cabin(rng, width // 2, height // 2, light)
    size = (width, height)
    gain = cv2.resize(gain, size, interpolation=cv2.INTER_LINEAR)
    hidden = cv2.resize(cover, size, interpolation=cv2.INTER_LINEAR) > 0.5
    gain4 = np.repeat((gain * 255 + 0.5).astype(np.uint8)[..., None], 4, 2)
    add = np.zeros((height, width, 4), np.uint8)
    inside = np.clip(cv2.resize(inside, size, interpolation=cv2.INTER_LINEAR) + 0.5, 0, 255)
    add[..., :3] = inside
    return Cabin(gain4, add, hidden)


def _cabin(rng, width, height, light):
    """(gain, inside RGB, cover), all float32."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = (x / width - 0.5) * 2, y / height
    sky = as_rgb(light.sky_low)
    level = float(sky.mean()) / 190
    tint = (0.5 + 0.5 * sky / sky.mean()) * level  # daylight inside is paler than the sky
    brow = rng.uniform(0.845, 0.89)
    side = rng.choice([-1.0, 1.0])
    line = brow - 0.030 * (1 - u**2) + 0.012 * side * u + 0.004 * noise(rng, 1, width, width / 6, 2)
    soft = 0.004
    cover = np.clip((v - line) / soft + 0.5, 0, 1)
    if rng.random() < 0.75:  # the windscreen's lower corners and the pillars
        for sign, reach in ((-1, rng.uniform(0.10, 0.3)), (1, rng.uniform(0.0, 0.2))):
            edge = (1 - sign * u) / 2 / max(reach, 1e-3)
            curve = line - 0.22 * np.clip(1 - edge, 0, 1) ** 2 * (reach > 0.04)
            cover = np.maximum(cover, np.clip((v - curve) / soft / 1.5 + 0.5, 0, 1))
    bonnet_top = line - rng.uniform(0.012, 0.035) * np.clip(1 - (u * 1.1) ** 2, 0, 1) ** 0.5
    bonnet = np.clip((v - bonnet_top) / 0.003 + 0.5, 0, 1) * (1 - cover)
    radius = np.hypot(u, (v - 0.5) * 2 * height / width)
    gain = np.clip(1.0 - 0.20 * radius**2.2, 0, 1) * (1 - cover) * (1 - 0.93 * bonnet)
    gain *= 1 - 0.03 * np.clip(noise(rng, height, width, 100, 4), 0, 1)  # smears on the glass
    grain = noise(rng, height, width, 3, 2)
    tone = 12 + 11 * np.clip((v - line) / 0.12, 0, 1) * (0.6 + 0.4 * u * side)
    inside = (cover * tone * (1 + 0.10 * grain))[..., None] * tint
    seam = np.exp(-(((v - line - 0.055 - 0.01 * u**2) / 0.0025) ** 2)) * (
        np.abs(u + 0.1 * side) < 0.55
    )
    inside *= (1 - 0.8 * seam * (np.abs(u + 0.1 * side) > 0.02))[..., None]
    inside += (np.exp(-(((v - line - 0.006) / 0.004) ** 2)) * cover * 9)[..., None] * tint
    shine = (
        0.30
        + 0.35 * np.clip((line - v) / 0.03, 0, 1)
        + 0.08 * noise(rng, height, width, (12, 130), 3)
    )
    inside += (bonnet * np.clip(shine, 0, 1) * 105)[..., None] * tint
    # The dashboard mirrored in the glass: a pale veil with the vents in it.
    vent = sum(np.exp(-(((u - c) / 0.16) ** 4)) for c in (-0.45, 0.5))
    bars = 0.5 + 0.5 * np.sin((v - 0.03 * u**2) * 110)
    veil = np.clip((v - 0.42) / 0.45, 0, 1) ** 1.5 * (1 - cover) * rng.uniform(4, 11)
    veil = veil * (1 + 0.3 * vent * bars * np.exp(-(((v - 0.74) / 0.06) ** 2)))
    inside += veil[..., None] * tint * (1 - 0.5 * bonnet[..., None])
    if rng.random() < 0.45:  # a toll sticker at the top
        cx, half = rng.uniform(-0.25, 0.35), rng.uniform(0.10, 0.2)
        edge = 0.075 - 0.03 * ((u - cx) / half) ** 4 - 0.03 * (u - cx)
        tab = np.clip((edge - v) / 0.004 + 0.5, 0, 1) * np.clip(
            (half - np.abs(u - cx)) / 0.006 + 0.5, 0, 1
        )
        gain *= 1 - tab
        paper = tab * (np.abs(u - cx) < half * 0.6) * (v < 0.045)
        ink = (
            paper
            * np.clip(noise(rng, height, width, (20, 5), 2) * 3, 0, 1)
            * (v > 0.012)
            * (v < 0.034)
        )
        inside = inside * (1 - tab[..., None]) + tab[..., None] * as_rgb((20, 10, 11)) * level
        inside += (paper * 150)[..., None] * tint * (1 - 0.8 * ink[..., None])
        cover = np.maximum(cover, tab)
    return (
        np.clip(gain, 0, 1),
        inside.astype(np.float32),
        np.maximum(cover, bonnet).astype(np.float32),
    )
