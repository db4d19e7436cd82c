"""Simulated dashcam footage with exact boxes: the course's data, rendered where it is used.

A camera drives along a road that bends and climbs, and passes speed cameras among things that
look like them. One model serves ground, objects and boxes: a point of the road at `s` metres
along it, `x` to the right and `y` up is seen at depth Z = s - s_camera, at X = x - x_camera +
bend(Z) and Y = y + climb(Z), through a pinhole and then a slightly wide-angle windscreen view.
Everything that is random comes from the clip's seed, so the same seed gives the same pixels.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np

from helpers.common.artifacts import artifact
from helpers.common.errors import CourseError
from helpers.common.files import write_csv
from helpers.common.processes import end_with_pool
from helpers.footage.roadside import backdrop, sprites
from helpers.footage.roadside.view import (
    FAR,
    FOCAL,
    FPS,
    HORIZON,
    BoxRow,
    ClipSpec,
    Drop,
    Scene,
    Strip,
    Thing,
    Wire,
    prepare,
    render_frame,
)

LABELS = ("speed_camera", "traffic_sign", "car")
LIGHTS = tuple(sprites.LIGHTS)
COLUMNS = tuple(field.name for field in fields(BoxRow))
LICENCE = "CC0-1.0, rendered by this course"


def clip_specs(
    count: int,
    seed: int,
    *,
    seconds: float = 4.0,
    width: int = 1280,
    height: int = 720,
    broad: bool = False,
) -> list[ClipSpec]:
    """Plans of `count` clips. The light cycles: any five clips in a row show all of LIGHTS.

    The first k of `clip_specs(n, seed)` are `clip_specs(k, seed)`. Raises CourseError when
    count < 1, seconds is outside 0 < s <= 600, or the size is odd or under 64 px.
    """
    if int(count) != count or count < 1:
        raise CourseError(f"roadside: clips: {count}; give a whole number of 1 or more")
    if not 0 < seconds <= 600:
        raise CourseError(f"roadside: seconds: {seconds}; give more than 0 and at most 600")
    if width % 2 or height % 2 or min(width, height) < 64:
        raise CourseError(f"roadside: size: {width}x{height}; give even numbers of 64 or more")
    if seed < 0:
        raise CourseError(f"roadside: seed: {seed}; give 0 or more")
    specs = []
    for i in range(count):
        light = LIGHTS[i % len(LIGHTS)]
        own = int(np.random.SeedSequence([seed, i]).generate_state(1)[0])
        specs.append(
            ClipSpec(f"roadside_{i:03d}_{light}", own, seconds, light, width, height, broad)
        )
    return specs


def frames(spec: ClipSpec) -> Iterator[tuple[np.ndarray, list[BoxRow]]]:
    """Render a clip: one (RGB uint8 (height, width, 3), boxes) for each frame, in order."""
    scene = build_scene(spec)
    for index in range(spec.frames):
        yield render_frame(scene, index)


def render_clip(spec: ClipSpec, folder: Path) -> Path:
    """Write `<name>.mp4` (H.264, yuv420p) and `<name>.boxes.csv` in `folder`; return the mp4.

    Both are written under temporary names and renamed when whole; the mp4 last, so it never lacks
    its boxes.
    """
    import av

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    video, table = folder / f"{spec.name}.mp4", folder / f"{spec.name}.boxes.csv"
    drafts = [path.with_name(f".{path.name}.{os.getpid()}.draft") for path in (video, table)]
    try:
        options = {"preset": "veryfast", "crf": "23"}
        with (
            av.open(str(drafts[0]), "w", format="mp4", options={"movflags": "+faststart"}) as out,
            open(drafts[1], "w", newline="", encoding="utf-8") as rows,
        ):
            stream = out.add_stream("libx264", rate=FPS, options=options)
            stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, "yuv420p"
            stream.codec_context.thread_count = 1
            writer = csv.writer(rows, lineterminator="\n")
            writer.writerow(COLUMNS)
            for image, boxes in frames(spec):
                yuv: np.ndarray = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(yuv, format="yuv420p")))
                writer.writerows([_cell(getattr(box, name)) for name in COLUMNS] for box in boxes)
            out.mux(stream.encode())
        drafts[1].replace(table)
        drafts[0].replace(video)
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)
    return video


@artifact("render_roadside")
def render_roadside(
    folder: Path, *, clips: int = 10, seconds: float = 4.0, seed: int = 1, broad: bool = False
) -> dict:
    """Render `clips` clips into `folder/clips`, with `folder/sources.csv`; `broad` as in ClipSpec.

    Uses a process per core, four at most. Raises CourseError for impossible numbers.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    from helpers.common.progress import tqdm

    specs = clip_specs(clips, seed, seconds=seconds, broad=broad)
    target = Path(folder) / "clips"
    target.mkdir(parents=True, exist_ok=True)
    workers = min(clips, os.cpu_count() or 1, 4)
    total = sum(spec.frames for spec in specs)
    with tqdm(total=total, unit="frame", desc="roadside") as bar:
        if workers == 1:
            for spec in specs:
                render_clip(spec, target)
                bar.update(spec.frames)
        else:
            # Spawned, not forked: the caller may already run threads (Jupyter, TensorFlow).
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers, context, end_with_pool) as pool:
                jobs = {pool.submit(_render_alone, spec, target): spec for spec in specs}
                try:
                    for job in as_completed(jobs):
                        job.result()
                        bar.update(jobs[job].frames)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
    rows = (
        {
            "file": f"clips/{spec.name}.mp4",
            "licence": LICENCE,
            "origin": f"roadside, seed {spec.seed}",
        }
        for spec in specs
    )
    write_csv(Path(folder) / "sources.csv", ("file", "licence", "origin"), rows)
    return {"clips": clips, "frames": total}


def _render_alone(spec: ClipSpec, folder: Path) -> Path:
    cv2.setNumThreads(1)  # one process per core already
    return render_clip(spec, folder)


def _cell(value) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def build_scene(spec: ClipSpec) -> Scene:
    """Lay out road, objects, light and glass of a clip from its seed, ready to be drawn."""
    # Separate streams, so that a change to one part leaves the others as they are.
    layout, art, glass, road = (np.random.default_rng([spec.seed, i]) for i in range(4))
    light = sprites.LIGHTS[spec.light]
    azimuth = layout.uniform(-np.pi, np.pi)
    height = layout.uniform(0.35, 0.75) if spec.light != "dusk" else 0.15
    sky = sprites.Sky(light, sprites.unit((np.sin(azimuth), height, np.cos(azimuth))))
    motorway = bool(layout.random() < 0.65)
    lanes = _lanes(layout, motorway)
    detail = min(1.0, max(0.25, spec.width / 1280))
    wide, high = round(spec.width * 0.8) * 2, round(spec.height * (HORIZON + 0.10) / 2) * 2
    scene = Scene(
        spec,
        light,
        speed=float(layout.uniform(19, 30) if motorway else layout.uniform(15, 23)),
        x=lanes["camera"],
        bends=_waves(road, ((620, 1000), (900, 1500)), 2600 if motorway else 1300),
        hills=_waves(road, ((420, 700), (800, 1300)), 9000),
        sway=_sway(road, spec),
        ground=backdrop.ground_texture(art, sky, lanes, detail),
        panorama=backdrop.sky_panorama(
            art, sky, wide, high, round(spec.height * HORIZON), FOCAL * spec.width
        ),
        cabin=backdrop.cabin(glass, spec.width, spec.height, light),
        grain=_grain(glass, spec, light),
    )
    if spec.broad:
        camera = np.random.default_rng([spec.seed, 4])
        scene.tone, scene.sharpening = _tone(camera, light), float(camera.uniform(0.0, 0.6))
    _place_strips(scene, layout, art, sky, lanes)
    _place_cameras(scene, layout, art, sky, lanes)
    _place_furniture(scene, layout, art, sky, lanes)
    _place_cars(scene, layout, art, sky, lanes)
    for thing in scene.things:
        if spec.light == "sun" and thing.label != "car":
            _cast_shadow(thing, sky)
    if spec.light == "rain":
        scene.drops, scene.streaks = _drops(glass, spec), _streaks(glass, spec)
    return prepare(scene)


def _lanes(rng, motorway: bool) -> dict:
    """Cross-section of the road: metres to the right of its reference line."""
    if motorway:
        asphalt = [(-4.6, 6.2, 92), (-19.0, -8.6, 96)]
        centres = [-1.85, 1.85, -11.0, -14.7]
        lines = [
            (-3.75, 0.18, 0, 0), (0.0, 0.15, 6.0, 6.0), (3.75, 0.18, 0, 0),
            (-9.1, 0.18, 0, 0), (-12.85, 0.15, 6.0, 6.0), (-16.6, 0.18, 0, 0),
        ]  # fmt: skip
        return {
            "kind": "motorway", "asphalt": asphalt, "centres": centres, "lines": lines,
            "camera": float(rng.choice([-1.85, 1.85]) + rng.normal(0, 0.12)),
            "ahead": [-1.85, 1.85], "oncoming": [-11.0, -14.7],
            "left": (-6.8, -5.5), "right": (7.4, 9.2),
        }  # fmt: skip
    gap = float(rng.choice([3.0, 9.0]))
    lines = [(-3.35, 0.13, 0, 0), (0.0, 0.13, 3.0, gap if gap == 3.0 else 5.0), (3.35, 0.13, 0, 0)]
    return {
        "kind": "country", "asphalt": [(-3.75, 3.75, 98)], "centres": [-1.7, 1.7], "lines": lines,
        "camera": float(1.7 + rng.normal(0, 0.1)), "ahead": [1.7], "oncoming": [-1.7],
        "left": (-6.0, -4.6), "right": (4.6, 6.4),
    }  # fmt: skip


def _waves(rng, lengths, radius) -> np.ndarray:
    rows = []
    for low, high in lengths:
        length = rng.uniform(low, high)
        amplitude = rng.uniform(0.3, 1.0) / radius * (length / (2 * np.pi)) ** 2
        rows.append((amplitude, length, rng.uniform(0, 2 * np.pi)))
    return np.array(rows)


def _sway(rng, spec) -> np.ndarray:
    """Pitch (px), roll (rad), exposure factor, height (m) of each frame: a car on its springs."""
    n = spec.frames + 60
    columns = []
    for size, seconds in ((2.6, 0.16), (0.0030, 0.22), (0.020, 0.8), (0.012, 0.2)):
        kernel = np.hanning(max(3, round(seconds * FPS * 2) | 1))
        wave = np.convolve(rng.normal(0, 1, n), kernel / np.sqrt((kernel**2).sum()), "same")
        columns.append(size * wave[30 : 30 + spec.frames])
    columns[0] = columns[0] * spec.height / 720
    columns[2] = columns[2] + 1.0
    return np.stack(columns, 1)


def _tone(rng, light) -> np.ndarray:
    """The curve of a camera: how bright it exposes, and how hard its contrast is; (256,) uint8."""
    # Where light is scarce a camera exposes longer.
    bright = rng.uniform(1.0, 1.4) * {"dusk": 1.35, "rain": 1.15}.get(light.name, 1.0)
    hard = rng.uniform(0.0, 0.45)
    x = np.clip(np.linspace(0, 1, 256) * bright, 0, 1)
    steep = x * x * (3 - 2 * x)  # dark becomes darker, bright brighter
    return np.round(255 * ((1 - hard) * x + hard * steep)).astype(np.uint8)


def _grain(rng, spec, light) -> np.ndarray:
    """Sensor noise around 128, larger than the frame: each frame reads it at another offset."""
    h, w = spec.height + 96, spec.width + 96
    luma = rng.standard_normal((h, w), np.float32) * light.noise
    chroma = rng.standard_normal((h // 2, w // 2, 3), np.float32) * (light.noise * 0.9)
    chroma = cv2.resize(chroma, (w, h), interpolation=cv2.INTER_LINEAR)
    four = np.full((h, w, 4), 128, np.uint8)
    four[..., :3] = np.clip(chroma + luma[..., None] + 128.5, 0, 255)
    return four


def _place_strips(scene, rng, art, sky, lanes):
    end = scene.speed * scene.spec.seconds + FAR
    made = {}

    def add(kind, x, s0=-20.0, s1=end):
        key = (kind, x > 0)
        if key not in made:
            made[key] = backdrop.strip_texture(art, sky, kind, 1 if x > 0 else -1)
        scene.strips.append(Strip(float(x), s0, s1, *made[key]))

    def stretches(kind, x, share):
        """Pieces along the road that cover about `share` of it."""
        s = -20.0
        while s < end:
            piece = rng.uniform(60, 220)
            if rng.random() < share:
                if scene.strips and scene.strips[-1].x == x and scene.strips[-1].s1 == s:
                    scene.strips[-1].s1 = s + piece  # one long ribbon is cheaper than two
                else:
                    add(kind, x, s, s + piece)
            s += piece

    woods = "woods_bare" if rng.random() < 0.5 else "woods"
    cover = 1.0
    if scene.spec.broad:
        cover = 0.3 if rng.random() < 0.45 else 1.0  # open country: sky behind what stands there
        # Bushes between the road and what stands beside it hide the feet of the columns.
        for x in (-5.35, 7.2) if lanes["kind"] == "motorway" else (-4.5, 4.5):
            if rng.random() < 0.35:
                stretches("bushes", x, 0.6)
    if lanes["kind"] == "motorway":
        add("rail", -5.2)
        if rng.random() < 0.7:
            add("rail", -8.0)
        if rng.random() < 0.6:
            stretches("hedge", -7.2, 0.8)
        stretches("rail", 6.9, 0.75)
        roll = rng.random()
        stretches("wall" if roll < 0.35 else "hedge" if roll < 0.7 else "fence", 10.6, 0.6 * cover)
        stretches(woods, 15.0, 0.45 * cover)
        stretches("wall" if rng.random() < 0.4 else "hedge", -20.5, 0.6 * cover)
        stretches(woods, -24.0, 0.55 * cover)
    else:
        if rng.random() < 0.5:
            stretches("rail", 4.3, 0.5)
        if rng.random() < 0.35:
            stretches("rail", -4.3, 0.4)
        stretches("hedge" if rng.random() < 0.7 else "fence", 7.6, 0.45)
        stretches("hedge" if rng.random() < 0.7 else "fence", -7.4, 0.45)
        stretches(woods, 12.5, 0.5 * cover)
        stretches(woods, -12.0, 0.5 * cover)


def _side(rng, lanes, right_share=0.6):
    low, high = lanes["right"] if rng.random() < right_share else lanes["left"]
    return float(rng.uniform(low, high))


# Motorway installations stand on a plinth: about 4 m high, and half as wide as high in pictures.
CAMERA_SCALE = (1.35, 1.2, 1.35)


def _place_cameras(scene, rng, art, sky, lanes):
    """One to three speed cameras: the first is near, others wait further on.

    Distances are such that half of the boxes of 24 px or more are at least 64 px high, as in real
    footage of motorways (at 720 lines).
    """
    makes = sprites.BROAD_SPEED_CAMERAS if scene.spec.broad else sprites.SPEED_CAMERAS
    count = int(rng.choice([1, 2, 3], p=[0.3, 0.4, 0.3]))
    at = rng.uniform(12, 90)
    for _ in range(count):
        maker = makes[art.integers(len(makes))]
        quads = maker(art, sky)
        for quad in quads:
            quad.corners *= np.float32(CAMERA_SCALE)
        thing = Thing(quads, _side(rng, lanes, 0.55), float(at), "speed_camera", len(quads))
        scene.things.append(thing)
        at += rng.uniform(12, 40)


def _place_furniture(scene, rng, art, sky, lanes):
    end = scene.speed * scene.spec.seconds + 260
    taken = [(thing.x, thing.s) for thing in scene.things]

    def free(x, s, room=4.0):
        return all(abs(s - b) > room or x * a < 0 for a, b in taken)

    kinds = ("sos", "cabinet", "bin", "counter", "post", "signal_back", "sign", "sign")
    models = {kind: [] for kind in kinds}
    for kind in kinds:
        for _ in range(2):
            if kind == "sign":
                models[kind].append(_sign(art, sky))
            elif kind == "signal_back":
                models[kind].append((sprites.signal_back(art, sky), 0))
            else:
                models[kind].append((sprites.lookalike(art, sky, kind), 0))
    s = rng.uniform(2, 18)
    while s < end:
        kind = kinds[rng.integers(len(kinds))]
        quads, boxed = models[kind][rng.integers(len(models[kind]))]
        x = _side(rng, lanes, 0.7)
        if free(x, s):
            label = "traffic_sign" if boxed else None
            scene.things.append(Thing(list(quads), x, float(s), label, boxed))
            taken.append((x, s))
        s += rng.uniform(9, 34)
    if rng.random() < 0.6:
        lamp = sprites.lookalike(art, sky, "lamp")
        x = (lanes["right"][0] + 0.6) if rng.random() < 0.5 else lanes["left"][1] - 0.5
        for s in np.arange(rng.uniform(0, 40), end + 100, 42.0):
            scene.things.append(Thing(list(lamp), float(x), float(s)))
    marker = sprites.lookalike(art, sky, "delineator")
    for side in ("left", "right"):
        x = lanes[side][0] - 0.35 if side == "right" else lanes[side][1] + 0.35
        for s in np.arange(rng.uniform(0, 50), end, 50.0):
            scene.things.append(Thing(list(marker), float(x), float(s)))
    trees = [_tree(art, sky) for _ in range(3)]
    for _ in range(int(rng.integers(8, 22))):
        side = rng.choice([-1, 1])
        x = (
            side * rng.uniform(11.5, 30)
            if lanes["kind"] == "country" or side > 0
            else -rng.uniform(22, 40)
        )
        scene.things.append(
            Thing(list(trees[rng.integers(3)]), float(x), float(rng.uniform(-5, end + 60)))
        )
    if rng.random() < 0.5:
        _place_pylons(scene, rng, art, sky, end)
    if lanes["kind"] == "motorway" and rng.random() < 0.25:
        s = rng.uniform(50, end)
        scene.things.append(Thing(_bridge(art, sky), 0.0, float(s)))


def _sign(rng, sky):
    """(quads, how many of them are the plates): plates first, then the pole."""
    kind = ("limit", "limit", "warning", "no", "panel")[rng.integers(5)]
    image, alpha = sprites.sign_face(rng, kind)
    if kind == "panel":
        width, y = rng.uniform(2.2, 3.2), rng.uniform(1.8, 2.4)
        plate = sprites.plate(sky, image, alpha, width, width / 1.5, y)
        poles = [
            q for x in (-0.3, 0.3)
            for q in sprites.post(rng, sky, 0.11, y + width / 1.6, (126, 128, 130), x * width)
        ]  # fmt: skip
        return [plate, *poles], 1
    size, y = rng.uniform(0.65, 0.95), rng.uniform(1.9, 2.5)
    plate = sprites.plate(sky, image, alpha, size, size, y)
    return [plate, *sprites.post(rng, sky, 0.09, y + size * 0.7, (132, 134, 136))], 1


def _tree(rng, sky):
    image, alpha = backdrop.tree_image(rng, rng.random() < 0.45, rng.random() < 0.3)
    h = rng.uniform(6, 11)
    w = h * image.shape[1] / image.shape[0]
    light = sky.on(sprites.unit((0, 0.7, -0.7)))
    side = np.linspace(-1, 1, image.shape[1])[None, :, None] * sky.sun[0]
    image = image * light * (1 + 0.25 * side)
    corners = np.float32([(-w / 2, h, 0), (w / 2, h, 0), (w / 2, -0.1, 0), (-w / 2, -0.1, 0)])
    return [sprites.Quad(corners, sprites.texture(image, alpha), True)]


def _place_pylons(scene, rng, art, sky, end):
    """A power line beside the road: lattice masts and wires."""
    side = float(rng.choice([-1, 1]))
    x, step, height = side * rng.uniform(26, 38), rng.uniform(55, 80), rng.uniform(16, 24)
    h, w = 384, 160
    mask = np.zeros((h, w), np.uint8)
    cv2.line(mask, (80, 0), (72, h), 255, 5, cv2.LINE_AA)
    cv2.line(mask, (80, 0), (88, h), 255, 5, cv2.LINE_AA)
    for i in range(0, h, 16):
        cv2.line(mask, (74, i), (86, i + 16), 200, 2, cv2.LINE_AA)
        cv2.line(mask, (86, i), (74, i + 16), 200, 2, cv2.LINE_AA)
    arms = (0.08, 0.2, 0.32)
    for arm in arms:
        cv2.line(mask, (8, int(arm * h)), (152, int(arm * h)), 255, 5, cv2.LINE_AA)
        cv2.line(mask, (8, int(arm * h)), (80, int(arm * h) - 12), 255, 3, cv2.LINE_AA)
        cv2.line(mask, (152, int(arm * h)), (80, int(arm * h) - 12), 255, 3, cv2.LINE_AA)
    image = sprites.plain(h, w, (92, 94, 96)) * sky.on((0, 0.2, -0.9))
    width = height * w / h
    corners = np.float32(
        [(-width / 2, height, 0), (width / 2, height, 0), (width / 2, 0, 0), (-width / 2, 0, 0)]
    )
    mast = sprites.Quad(corners, sprites.texture(image, mask.astype(np.float32) / 255), True)
    start = rng.uniform(-step, 0)
    for s in np.arange(start, end + 150, step):
        scene.things.append(Thing([mast], float(x), float(s)))
    for arm in arms:
        for across in (-0.45, 0.45):
            scene.wires.append(Wire(x + across * width, height * (1 - arm) - 0.8, start, step))


def _bridge(rng, sky):
    """A concrete bridge over the road."""
    y, depth = rng.uniform(5.0, 5.8), rng.uniform(7, 11)
    deck = sprites.weathered(rng, 64, 1024, (168, 160, 144), 0.25, 0.0)
    deck[40:] *= 0.82
    soffit = sprites.weathered(rng, 64, 256, (66, 64, 62), 0.1, 0.0) * 0.4
    x0, x1 = -46.0, 40.0
    quads = [
        sprites.quad(
            sky, [(x0, y, depth), (x1, y, depth), (x1, y, 0), (x0, y, 0)], soffit, two_sided=True
        ),
        sprites.quad(sky, [(x0, y + 1.5, 0), (x1, y + 1.5, 0), (x1, y, 0), (x0, y, 0)], deck),
    ]
    bars = np.zeros((48, 2048), np.float32)
    bars[:5], bars[22:25], bars[:, ::24], bars[:, 1::24] = 1, 1, 1, 1
    rail = sprites.plain(48, 2048, (130, 134, 138))
    quads.append(
        sprites.quad(
            sky,
            [(x0, y + 2.6, 0), (x1, y + 2.6, 0), (x1, y + 1.5, 0), (x0, y + 1.5, 0)],
            rail,
            bars,
        )
    )
    for x in (-21.5, 9.4):
        pier = {
            n: sprites.weathered(rng, 96, 48, (150, 144, 132), 0.3)
            for n in ("left", "right", "front")
        }
        quads += sprites.hexahedron(
            sky, (x - 0.5, x + 0.5, 1, depth - 1, 0), (x - 0.5, x + 0.5, 1, depth - 1, y), pier
        )
    return quads


def _place_cars(scene, rng, art, sky, lanes):
    path, seconds = scene.speed * scene.spec.seconds, scene.spec.seconds
    models = {side: [_car_quads(art, sky, side) for _ in range(4)] for side in (False, True)}

    def add(lane, s, pace, oncoming):
        quads, boxed = models[oncoming][rng.integers(4)]
        x = float(lane + rng.normal(0, 0.15))
        scene.things.append(Thing(list(quads), x, float(s), "car", boxed, float(pace)))

    for lane in lanes["ahead"]:
        mine = abs(lane - lanes["camera"]) < 1.0
        s = rng.uniform(22, 45) if mine else rng.uniform(-4, 25)
        while s < path + 150:
            pace = scene.speed * (rng.uniform(0.96, 1.06) if mine else rng.uniform(0.78, 1.12))
            if rng.random() < 0.8:
                add(lane, s, pace, False)
            s += rng.uniform(22, 80)
    for lane in lanes["oncoming"]:
        pace = -scene.speed * rng.uniform(0.85, 1.15)
        s = rng.uniform(10, 60)
        while s < path - pace * seconds + 160:
            add(lane, s, pace, True)
            s += rng.uniform(25, 120) if lanes["kind"] == "motorway" else rng.uniform(60, 180)


def _cast_shadow(thing: Thing, sky) -> None:
    """Lay the long shadow of a standing thing on the ground."""
    corners = np.concatenate([q.corners for q in thing.quads])
    height, half = float(corners[:, 1].max()), float(np.abs(corners[:, 0]).max())
    if height > 11 or half > 6:
        return
    flat = float(np.hypot(sky.sun[0], sky.sun[2]))
    reach = height * flat / max(0.2, float(sky.sun[1]))
    dx, ds = -sky.sun[0] / flat * reach, -sky.sun[2] / flat * reach
    across = np.array((ds, -dx), np.float32) / reach * half
    if across[0] < 0:
        across = -across
    alpha = max(
        (q.texture.levels[min(2, len(q.texture.levels) - 1)][..., 3] for q in thing.quads),
        key=np.size,
    )
    soft = cv2.GaussianBlur(np.pad(alpha, 4).astype(np.float32) / 255, (0, 0), 1.5) * 0.6
    at = [
        (dx - across[0], 0.012, ds - across[1]), (dx + across[0], 0.012, ds + across[1]),
        (across[0], 0.012, across[1]), (-across[0], 0.012, -across[1]),
    ]  # fmt: skip
    dark = sprites.texture(sprites.plain(soft.shape[0], soft.shape[1], (14, 16, 24)), soft)
    thing.quads.append(sprites.Quad(np.array(at, np.float32), dark, True, "shadow"))


def _drops(rng, spec) -> list[Drop]:
    drops = []
    scale = spec.width / 1280
    for _ in range(620):
        r = float(np.clip(rng.gamma(1.7, 2.6), 1.4, 17)) * scale
        n = max(3, int(r * 2) | 1)
        v, u = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j].astype(np.float32)
        d = np.hypot(u, v * rng.uniform(0.7, 1.0))
        d *= 1 + 0.16 * np.sin(np.arctan2(v, u) * 2 + rng.uniform(0, 6))
        inside = np.clip((1 - d) * 2.5, 0, 1)
        bend = -(r * 5.0) * inside  # a drop shows the scene upside down
        rim = np.clip(d - 0.45, 0, 1) * inside
        shade = np.clip(255 * (1 - 0.7 * rim * np.clip(0.6 - v, 0.1, 1)), 0, 255).astype(np.uint8)
        x, y = int(rng.uniform(0, spec.width)), int(rng.uniform(0, spec.height * 0.86))
        bend_x, bend_y = (np.ascontiguousarray(axis * bend, np.float32) for axis in (u, v))
        born = rng.uniform(-1.7, spec.seconds)
        drops.append(Drop(born, x, y, bend_x, bend_y, cv2.merge([shade] * 4)))
    return drops


def _streaks(rng, spec):
    h, w = spec.height + 256, spec.width + 256
    layer = np.zeros((h, w), np.uint8)
    for _ in range(800):
        x, y, n = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(10, 46) * spec.height / 720
        lean = (x - w / 2) / w * 0.7
        end = (round((x + lean * n) * 8), round((y + n) * 8))
        cv2.line(
            layer, (round(x * 8), round(y * 8)), end, int(rng.integers(5, 17)), 1, cv2.LINE_AA, 3
        )
    return cv2.cvtColor(cv2.GaussianBlur(layer, (3, 5), 0), cv2.COLOR_GRAY2RGBA)


def _car_quads(rng, sky, oncoming):
    """(quads, how many of them are the car): the car first, then its shadow and lights."""
    quads = sprites.car(rng, sky, oncoming)
    boxed = len(quads)
    quads.append(sprites.shadow_quad(-1.15, 1.15, -0.35, 4.6, 0.85))
    if sky.light.lamps:
        colour = (255, 240, 205) if oncoming else (255, 48, 30)
        for x in (-0.66, 0.66):
            quads.append(sprites.glow_quad(x, 0.66, 0.8 if oncoming else 0.35, colour))
            if sky.light.name == "rain":  # the lamp again, mirrored in the wet road
                mirrored = sprites.glow_quad(x, 0.0, 0.3, sprites.as_rgb(colour) * 0.55)
                mirrored.corners[:, 1] = (-0.1, -0.1, -1.5, -1.5)
                mirrored.kind = "shadow"
                quads.append(mirrored)
    return quads, boxed
