from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.common.errors import CourseError
from helpers.dataset import split


def clips_of(sizes):
    return {f"{clip}_{i}.jpg": clip for clip, n in sizes.items() for i in range(n)}


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 30), min_size=2),
    ratio=st.floats(0.05, 0.95),
    seed=st.integers(0, 1000),
)
def test_whole_clips_and_the_closest_share(sizes, ratio, seed):
    clips = clips_of(sizes)
    chosen = split.split_by_clip(clips, ratio, seed)
    sides = {clip: {chosen[i] for i, c in clips.items() if c == clip} for clip in sizes}
    assert all(len(side) == 1 for side in sides.values())
    held = sum(value == "val" for value in chosen.values())
    assert 0 < held < len(clips)
    target = ratio * len(clips)
    sums = {0}
    for size in sizes.values():
        sums |= {s + size for s in sums}
    best = min(abs(s - target) for s in sums if 0 < s < len(clips))
    assert abs(held - target) == pytest.approx(best)


def test_clips_with_and_without_boxes_are_shared_out_each_for_themselves():
    clips = clips_of(
        {**{f"boxes_{i}": 10 for i in range(5)}, **{f"empty_{i}": 5 for i in range(5)}}
    )
    # One crowded clip must not make up the validation: the share is of images.
    crowded = {"boxes_0": 40}
    boxes = {i: 0 if c.startswith("empty") else crowded.get(c, 1) for i, c in clips.items()}
    for seed in range(5):
        found = {image: {"radar": count} for image, count in boxes.items()}
        chosen = split.split_by_clip(clips, 0.2, seed, found)
        held = {clips[image] for image, side in chosen.items() if side == "val"}
        assert sorted(clip.split("_")[0] for clip in held) == ["boxes", "empty"]


def test_the_seed_decides_among_equals():
    clips = clips_of({f"c{i}": 10 for i in range(10)})
    assert split.split_by_clip(clips, 0.2, 3) == split.split_by_clip(clips, 0.2, 3)
    assert len({str(split.split_by_clip(clips, 0.2, seed)) for seed in range(8)}) > 3


def test_many_clips_are_split_fast_and_exactly():
    clips = clips_of({f"photo_{i}": 1 for i in range(5000)})
    assert Counter(split.split_by_clip(clips, 0.2, 0).values()) == {"train": 4000, "val": 1000}


def test_what_cannot_be_split_says_so():
    with pytest.raises(CourseError, match=r"all 10 images with boxes are of one clip .only.*frame"):
        split.split_by_clip(clips_of({"only": 10}), 0.2, 0)
    one = {f"b_{i}.jpg": {"car": int(i == 0)} for i in range(5)}
    with pytest.raises(CourseError, match=r"not difficult: 1; .*draw boxes in more images"):
        split.split_by_clip(clips_of({"a": 4, "b": 5}), 0.2, 0, one)
    for ratio in ("0.2", float("nan"), None, [0.2]):
        with pytest.raises(CourseError, match=r"val_ratio: .* between 0 and 1"):
            split.split_by_clip(clips_of({"a": 1, "b": 1}), ratio, 0)
    with pytest.raises(CourseError, match="val_ratio: 20"):
        split.split_by_clip(clips_of({"a": 1, "b": 1}), 20, 0)
    with pytest.raises(CourseError, match="1 image"):
        split.split_by_frame(["a.jpg"], 0.2, 0)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(
        st.tuples(st.integers(1, 12), st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30
    ),
    ratio=st.floats(0.05, 0.95),
    seed=st.integers(0, 1000),
)
def test_stratified_whole_clips_with_boxes_on_both_sides(counts, ratio, seed):
    clips = clips_of({f"c{i:02d}": n for i, (n, _, _) in enumerate(counts)})
    found = {f"c{i:02d}_0.jpg": {"car": a, "sign": b} for i, (_, a, b) in enumerate(counts)}
    if sum(a + b > 0 for _, a, b in counts) < 2:
        with pytest.raises(CourseError, match=r"images with boxes"):
            split.split_by_clip(clips, ratio, seed, labels_per_image=found)
        return
    chosen = split.split_by_clip(clips, ratio, seed, labels_per_image=found)
    assert chosen == split.split_by_clip(clips, ratio, seed, labels_per_image=found)
    for side in ("train", "val"):
        assert any(sum(n.values()) for image, n in found.items() if chosen[image] == side)
    for clip in set(clips.values()):
        assert len({chosen[image] for image in clips if clips[image] == clip}) == 1


def test_a_rare_class_gets_its_share_in_both_parts():
    clips = clips_of({f"c{i:02d}": 10 for i in range(40)})
    found = {
        i: {"car": 5, "sign": 3 if clips[i] in ("c03", "c11", "c20", "c31") else 0} for i in clips
    }
    drawn = set()
    for seed in range(10):
        chosen = split.split_by_clip(clips, 0.25, seed, labels_per_image=found)
        held = {clips[image] for image, side in chosen.items() if side == "val"}
        assert len(held) == 10
        assert len(held & {"c03", "c11", "c20", "c31"}) == 1
        drawn.add(frozenset(held))
    assert len(drawn) > 5


def test_thousands_of_photos_are_stratified_fast():
    found = {f"{i}.jpg": {f"class_{j}": int(j == i % 7) * 2 for j in range(7)} for i in range(3000)}
    clips = {image: image for image in found}
    chosen = split.split_by_clip(clips, 0.2, 1, labels_per_image=found)
    per_class = Counter(i % 7 for i in range(3000) if chosen[f"{i}.jpg"] == "val")
    assert all(abs(count - 3000 / 7 * 0.2) <= 2 for count in per_class.values())


def test_by_frame_takes_the_share_whatever_the_order():
    images = [f"{i}.jpg" for i in range(50)]
    chosen = split.split_by_frame(images, 0.2, 1)
    assert Counter(chosen.values()) == {"train": 40, "val": 10}
    assert chosen == split.split_by_frame(images[::-1], 0.2, 1)
    assert set(split.split_by_frame(["a", "b"], 0.01, 0).values()) == {"train", "val"}
