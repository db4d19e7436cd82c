"""How much work a run does: one row of budgets per profile.

A lesson's parameter that is `None` takes its value from here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """The amounts of one profile. Sizes of the networks' input belong to the presets."""

    clips: int  # roadside clips that lesson 01 renders
    clip_seconds: float  # length of each, at 30 frames a second
    frame_every: int  # lesson 02 keeps one frame in so many
    val_ratio: float  # part of the clips that is held out
    shards: int  # files per split in lesson 04
    fault_steps: int  # training steps on each of the planted faults in lesson 04
    probe_seconds: float  # lesson 05 tries batches for so long
    ssd_preset: str
    ssd_weights: str  # what training starts from: a name of weights.start_from
    ssd_steps: int
    ssd_batch: int
    frcnn_preset: str
    frcnn_weights: str
    frcnn_steps: int
    frcnn_batch: int
    eval_every: int  # training steps between two looks at the held-out clips
    worker_steps: int  # training steps of lesson 12, on one worker and on two
    video_seconds: float | None  # how much of the video lesson 11 annotates; None = all


PROFILES: dict[str, Budget] = {
    # Every cell runs; the numbers mean nothing.
    "smoke": Budget(
        clips=4,
        clip_seconds=1.0,
        frame_every=5,
        val_ratio=0.25,
        shards=1,
        fault_steps=2,
        probe_seconds=3.0,
        ssd_preset="ssd_cpu",
        ssd_weights="nothing",
        ssd_steps=4,
        ssd_batch=2,
        frcnn_preset="faster_rcnn_cpu",
        frcnn_weights="nothing",
        frcnn_steps=4,
        frcnn_batch=2,
        eval_every=4,
        worker_steps=4,
        video_seconds=0.5,
    ),
    # Real results on two cores, the whole course in under 25 minutes.
    "cpu": Budget(
        # Many short clips: a detector learns more from another road than from more of the same.
        clips=120,
        clip_seconds=1.5,
        frame_every=5,
        val_ratio=0.2,
        shards=2,
        fault_steps=80,
        probe_seconds=25.0,
        ssd_preset="ssd_cpu",
        ssd_weights="nothing",
        ssd_steps=1500,
        ssd_batch=12,
        frcnn_preset="faster_rcnn_cpu",
        frcnn_weights="nothing",
        frcnn_steps=1500,
        frcnn_batch=8,
        eval_every=750,
        worker_steps=24,
        video_seconds=6.0,
    ),
    # The sizes and steps of the literature.
    "gpu": Budget(
        clips=200,
        clip_seconds=10.0,
        frame_every=5,
        val_ratio=0.2,
        shards=8,
        fault_steps=80,
        probe_seconds=120.0,
        ssd_preset="ssd_resnet50_fpn_640",
        ssd_weights="coco",
        ssd_steps=25_000,
        ssd_batch=16,
        frcnn_preset="faster_rcnn_resnet50_640",
        frcnn_weights="imagenet",
        frcnn_steps=25_000,
        frcnn_batch=8,
        eval_every=1_000,
        worker_steps=24,
        video_seconds=None,
    ),
}
