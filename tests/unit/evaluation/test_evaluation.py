import json

import cv2
import numpy as np
import pytest

from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.evaluation import scores as evaluation

SIDE = 200


def truth_file(folder, objects, images=None, categories=(1,)):
    """A COCO json. `objects`: (image, category, xywh[, difficult]); `images`: {id: clip}."""
    images = images or {image: "" for image in sorted({item[0] for item in objects})}
    entries = []
    for number, clip in images.items():
        entry = {"id": number, "file_name": f"{number}.jpg", "width": SIDE, "height": SIDE}
        entries.append(entry | ({"clip": clip} if clip else {}))
    annotations = [
        {
            "id": i,
            "image_id": image,
            "category_id": category,
            "bbox": list(map(float, box)),
            "area": float(box[2] * box[3]),
            "iscrowd": int(any(difficult)),
        }
        for i, (image, category, box, *difficult) in enumerate(objects, 1)
    ]
    names = [{"id": number, "name": f"class{number}"} for number in categories]
    path = folder / "val.json"
    path.write_text(
        json.dumps({"images": entries, "annotations": annotations, "categories": names})
    )
    return path


def result(image, category, box, score):
    return {
        "image_id": image,
        "category_id": category,
        "bbox": list(map(float, box)),
        "score": float(score),
    }


def random_case(folder, seed):
    """Crowded images of three classes with difficult objects; detections near and far."""
    rng = np.random.default_rng(seed)
    objects, results = [], []
    for image in range(1, 9):
        for _ in range(rng.integers(0, 7)):
            box = np.append(rng.uniform(0, 120, 2), rng.uniform(8, 80, 2))
            category = int(rng.integers(1, 4))
            objects.append((image, category, box, bool(rng.random() < 0.3)))
            for _ in range(rng.integers(0, 4)):
                near = box + rng.normal(0, rng.uniform(0.5, 12), 4)
                near[2:] = near[2:].clip(2)
                seen = category if rng.random() < 0.9 else int(rng.integers(1, 4))
                results.append(result(image, seen, near, rng.random()))
        for _ in range(rng.integers(0, 4)):
            box = np.append(rng.uniform(0, 120, 2), rng.uniform(8, 80, 2))
            results.append(result(image, int(rng.integers(1, 4)), box, rng.random()))
    images = {image: "" for image in range(1, 9)}
    return truth_file(folder, objects, images, (1, 2, 3)), results


def mean_ap(matches):
    """Mean over the classes that have an object to find."""
    counted = [a for a, counts in zip(matches.truth, matches.counted, strict=True) if counts]
    scores = []
    for category in {a["category_id"] for a in counted}:
        mine = np.array([r["category_id"] == category for r in matches.results], bool)
        correct = matches.correct[mine & ~matches.ignored]
        objects = sum(a["category_id"] == category for a in counted)
        scores.append(evaluation.average_precision(correct, objects))
    return np.mean(scores)


@pytest.mark.parametrize(("threshold", "name"), [(0.5, "AP50"), (0.75, "AP75")])
def test_matching_and_averaging_agree_with_coco(tmp_path, threshold, name):
    values = []
    for seed in range(40):
        path, results = random_case(tmp_path, seed)
        ours = mean_ap(evaluation.match(path, results, threshold))
        values.append(ours)
        assert ours == pytest.approx(evaluation.coco_metrics(path, results)[name], abs=1e-9), seed
    # Neither all right nor all wrong, or the comparison would mean little.
    assert np.ptp(values) > 0.2


def test_coco_has_no_number_where_there_is_nothing_to_find(tmp_path):
    # 20 x 20 pixels is small; 50 x 50 is medium.
    path = truth_file(tmp_path, [(1, 1, (10, 10, 50, 50)), (2, 1, (10, 10, 20, 20), True)])
    metrics = evaluation.coco_metrics(path, [result(1, 1, (10, 10, 50, 50), 0.9)])
    assert tuple(metrics) == evaluation.NAMES
    assert metrics["AP"] == metrics["AP50"] == metrics["AP_medium"] == pytest.approx(1)
    assert metrics["AP_small"] is None
    assert metrics["AP_large"] is None
    half = [result(1, 1, (10, 10, 50, 25.5), 0.9)]
    assert evaluation.coco_metrics(path, half)["AP"] == pytest.approx(0.1)


def test_no_detections_score_zero(tmp_path):
    path = truth_file(tmp_path, [(1, 1, (10, 10, 50, 50))])
    assert evaluation.coco_metrics(path, []) == dict.fromkeys(evaluation.NAMES, 0.0)
    matches = evaluation.match(path, [])
    assert evaluation.count_at(matches, 0.5) == {"hits": 0, "misses": 1, "false_alarms": 0}
    assert mean_ap(matches) == 0
    assert evaluation.precision_recall(matches)["recall"].tolist() == []


def test_detections_where_there_is_nothing_have_no_score(tmp_path):
    path = truth_file(tmp_path, [], {1: ""})
    assert evaluation.coco_metrics(path, [result(1, 1, (0, 0, 9, 9), 0.9)])["AP"] is None


def test_each_object_is_found_once_by_the_surest(tmp_path):
    path = truth_file(tmp_path, [(1, 1, (10, 10, 40, 40)), (1, 1, (100, 10, 40, 40))])
    results = [
        result(1, 1, (11, 10, 40, 40), 0.6),
        result(1, 1, (10, 10, 40, 40), 0.5),
        result(1, 1, (12, 10, 40, 40), 0.9),
        result(1, 1, (101, 10, 40, 40), 0.3),
    ]
    matches = evaluation.match(path, results)
    assert [r["score"] for r in matches.results] == [0.9, 0.6, 0.5, 0.3]
    assert matches.correct.tolist() == [True, False, False, True]
    assert matches.best_score.tolist() == [0.9, 0.3]
    assert matches.found.tolist() == [True, True]
    assert matches.overlap == pytest.approx([38 / 42, 39 / 41, 1, 39 / 41])


def test_class_and_image_must_be_right_too(tmp_path):
    path = truth_file(tmp_path, [(1, 1, (10, 10, 40, 40)), (2, 2, (10, 10, 40, 40))])
    results = [result(1, 2, (10, 10, 40, 40), 0.9), result(2, 1, (10, 10, 40, 40), 0.9)]
    matches = evaluation.match(path, results)
    assert not matches.correct.any()
    assert not matches.found.any()


def test_difficult_objects_are_neither_missed_nor_rewarded(tmp_path):
    path = truth_file(tmp_path, [(1, 1, (10, 10, 40, 40), True), (1, 1, (100, 10, 40, 40))])
    results = [
        result(1, 1, (10, 10, 40, 40), 0.9),
        result(1, 1, (11, 10, 40, 40), 0.8),  # a second one is no fault either
        result(1, 1, (100, 100, 40, 40), 0.7),
    ]
    matches = evaluation.match(path, results)
    assert matches.ignored.tolist() == [True, True, False]
    assert matches.counted.tolist() == [False, True]
    assert evaluation.count_at(matches, 0.5) == {"hits": 0, "misses": 1, "false_alarms": 1}
    curve = evaluation.precision_recall(matches)
    assert curve["score"].tolist() == [0.7]


def four_faults(folder):
    """Two hits, and one fault of each kind at a threshold of 0.5."""
    path = truth_file(
        folder,
        [
            (1, 1, (10, 10, 40, 40)),
            (1, 1, (100, 10, 40, 40)),
            (2, 1, (10, 10, 60, 60)),
            (3, 1, (10, 10, 30, 30)),
        ],
        {1: "a", 2: "a", 3: "b", 4: "b"},
    )
    results = [
        result(1, 1, (10, 10, 40, 40), 0.95),
        result(1, 1, (12, 10, 40, 40), 0.7),  # twice
        result(1, 1, (101, 10, 40, 40), 0.9),
        result(3, 1, (20, 20, 30, 30), 0.8),  # badly placed
        result(4, 1, (100, 100, 30, 30), 0.6),  # background
        result(2, 1, (10, 10, 60, 60), 0.3),  # a hit, but below the threshold
        result(4, 1, (0, 0, 30, 30), 0.2),
    ]
    return path, results


def test_faults_are_told_apart(tmp_path):
    matches = evaluation.match(*four_faults(tmp_path))
    expected = {"missed": 2, "badly placed": 1, "twice": 1, "background": 1}
    assert evaluation.errors_by_kind(matches, 0.5) == expected
    low = {"missed": 1, "badly placed": 1, "twice": 1, "background": 2}
    assert evaluation.errors_by_kind(matches, 0.1) == low
    assert evaluation.errors_by_kind(matches, 0.99) == dict.fromkeys(expected, 0) | {"missed": 4}


def test_counts_follow_the_threshold(tmp_path):
    matches = evaluation.match(*four_faults(tmp_path))
    assert evaluation.count_at(matches, 0.5) == {"hits": 2, "misses": 2, "false_alarms": 3}
    assert evaluation.count_at(matches, 0.92) == {"hits": 1, "misses": 3, "false_alarms": 0}
    assert evaluation.count_at(matches, 0.0) == {"hits": 3, "misses": 1, "false_alarms": 4}


def test_the_curve_runs_from_the_surest_down(tmp_path):
    curve = evaluation.precision_recall(evaluation.match(*four_faults(tmp_path)))
    assert curve["score"].tolist() == [0.95, 0.9, 0.8, 0.7, 0.6, 0.3, 0.2]
    assert curve["precision"] == pytest.approx([1, 1, 2 / 3, 1 / 2, 2 / 5, 1 / 2, 3 / 7])
    assert curve["recall"] == pytest.approx([0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 0.75])


def test_average_precision_of_known_curves():
    assert evaluation.average_precision(np.array([True, True]), 2) == pytest.approx(1)
    assert evaluation.average_precision(np.array([True]), 2) == pytest.approx(51 / 101)
    assert evaluation.average_precision(np.array([False, True]), 1) == pytest.approx(0.5)
    assert evaluation.average_precision(np.array([], bool), 3) == 0
    assert np.isnan(evaluation.average_precision(np.array([False]), 0))


def correlated(folder, clips=12, frames=10, named=True):
    """Clips of which a detector finds every object or none, as near-copies have it."""
    rng = np.random.default_rng(1)
    found = rng.random(clips) < 0.6
    images = {i: f"clip{i // frames:02d}" if named else "" for i in range(clips * frames)}
    path = truth_file(folder, [(i, 1, (10, 10, 40, 40)) for i in images], images)
    results = [result(i, 1, (10, 10, 40, 40), rng.random()) for i in images if found[i // frames]]
    # False alarms, so that the order of the scores counts.
    results += [result(i, 1, (100, 100, 40, 40), rng.random()) for i in images if i % 7 == 0]
    return path, results


def test_the_interval_holds_the_score_and_is_wide_over_clips(tmp_path):
    case = correlated(tmp_path)
    point = evaluation.coco_metrics(*case)["AP50"]
    low, high, unit = evaluation.ap50_interval(*case)
    assert unit == "clips"
    assert 0 <= low < point < high <= 1
    low_images, high_images, unit = evaluation.ap50_interval(*correlated(tmp_path, named=False))
    assert unit == "images"
    assert low_images < point < high_images
    assert high - low > 2 * (high_images - low_images)


def test_the_interval_is_the_same_each_time_and_fits_the_mean_over_classes(tmp_path):
    case = random_case(tmp_path, 3)
    first = evaluation.ap50_interval(*case, samples=100)
    assert evaluation.ap50_interval(*case, samples=100) == first
    assert evaluation.ap50_interval(*case, samples=100, seed=1) != first
    assert first[0] < evaluation.coco_metrics(*case)["AP50"] < first[1]


def test_fewer_than_five_clips_are_not_drawn(tmp_path):
    assert evaluation.ap50_interval(*correlated(tmp_path, clips=4))[2] == "images"
    assert evaluation.ap50_interval(*correlated(tmp_path, clips=5))[2] == "clips"


def test_the_interval_of_a_perfect_and_of_an_empty_detector(tmp_path):
    path, _ = correlated(tmp_path)
    every = [result(i, 1, (10, 10, 40, 40), 0.9) for i in range(120)]
    assert evaluation.ap50_interval(path, every)[:2] == pytest.approx((1, 1))
    assert evaluation.ap50_interval(path, [])[:2] == (0, 0)


@pytest.mark.parametrize(
    ("kind", "images"),
    [
        ("hits", ["1.jpg"]),
        # Image 2's object is larger than image 3's.
        ("misses", ["2.jpg", "3.jpg"]),
        ("false alarms", ["3.jpg", "1.jpg", "4.jpg"]),
    ],
)
def test_examples_show_each_image_once_in_order_of_weight(tmp_path, kind, images):
    path, results = four_faults(tmp_path)
    matches = evaluation.match(path, results)
    found = evaluation.examples(matches, path, kind, 0.5)
    assert [example.image for example in found] == images
    assert len(evaluation.examples(matches, path, kind, 0.5, count=1)) == 1


def test_an_example_holds_truth_and_what_was_shown(tmp_path):
    path, results = four_faults(tmp_path)
    example = evaluation.examples(evaluation.match(path, results), path, "hits", 0.5)[0]
    assert [box.xyxy for box in example.truth] == [(10, 10, 50, 50), (100, 10, 140, 50)]
    assert {box.label for box in example.truth} == {"class1"}
    assert example.detections.confidence.tolist() == [0.95, 0.9, 0.7]
    assert example.detections.xyxy[0].tolist() == [10, 10, 50, 50]
    missed = evaluation.examples(evaluation.match(path, results), path, "misses", 0.5)[0]
    assert missed.detections.xyxy.shape == (0, 4)


def test_a_difficult_object_is_no_example_of_a_miss(tmp_path):
    path = truth_file(tmp_path, [(1, 1, (10, 10, 90, 90), True), (2, 1, (10, 10, 20, 20))])
    found = evaluation.examples(evaluation.match(path, []), path, "misses", 0.5)
    assert [example.image for example in found] == ["2.jpg"]


def test_an_unknown_kind_of_example_is_refused(tmp_path):
    path, results = four_faults(tmp_path)
    with pytest.raises(CourseError, match=r"kind: 'miss'; use 'hits', 'misses' or"):
        evaluation.examples(evaluation.match(path, results), path, "miss", 0.5)


def test_samples_are_spread_over_images_that_show_something(tmp_path):
    objects = [(i, 1, (10, 10, 40, 40)) for i in range(10, 20)]
    objects.append((5, 1, (10, 10, 40, 40), True))
    path = truth_file(tmp_path, objects, {i: "" for i in range(30)})
    assert evaluation.sample_images(path, 4) == ["10.jpg", "13.jpg", "16.jpg", "19.jpg"]
    assert evaluation.sample_images(path, 1) == ["10.jpg"]
    assert len(evaluation.sample_images(path, 50)) == 10
    nothing = truth_file(tmp_path, [], {i: "" for i in range(3)})
    assert evaluation.sample_images(nothing, 2) == ["0.jpg", "2.jpg"]


def test_the_longest_clip_is_held_out(tmp_path):
    path = truth_file(tmp_path, [], {1: "a", 2: "b", 3: "b", 4: "a", 5: "b"})
    assert evaluation.longest_clip(path) == ["2.jpg", "3.jpg", "5.jpg"]


def test_a_missing_or_broken_truth_is_named(tmp_path):
    with pytest.raises(CourseError, match=r"val.json: missing; lesson 04"):
        evaluation.match(tmp_path / "val.json", [])
    (tmp_path / "val.json").write_text("{")
    with pytest.raises(CourseError, match=r"val.json: not JSON"):
        evaluation.sample_images(tmp_path / "val.json", 2)


def test_predict_gives_coco_results_in_pixels_of_the_files(tmp_path):
    import supervision as sv

    for i in (1, 2):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), np.full((SIDE, SIDE, 3), (0, 0, 250), np.uint8))

    def detect(image):
        assert image[0, 0, 0] > 200 > image[0, 0, 2]  # RGB
        return sv.Detections(
            xyxy=np.array([[10, 20, 40, 80]], np.float32),
            confidence=np.array([0.75]),
            class_id=np.array([2]),
        )

    path = truth_file(tmp_path, [], {1: "", 2: ""})
    results, milliseconds = evaluation.predict(detect, tmp_path, path)
    assert results == [result(i, 2, (10, 20, 30, 60), 0.75) for i in (1, 2)]
    assert milliseconds > 0
    json.dumps(results)
    (tmp_path / "2.jpg").write_text("no image")
    with pytest.raises(CourseError, match=r"2.jpg: not a readable image"):
        evaluation.predict(detect, tmp_path, path)


def test_evaluate_writes_what_the_lesson_shows(trained, tiny_dataset, tiny_records, tmp_path):
    options = {"models": {"SSD": trained.folder}, "threshold": 0.3}
    folder = evaluation.evaluate(tiny_records, tiny_dataset, tmp_path / "08", **options)
    table = json.loads((folder / "metrics.json").read_text())
    row = table["SSD"]
    assert set(evaluation.NAMES) < set(row)
    # Eight held-out images of two clips: too few clips to draw.
    assert row["interval_over"] == "images"
    assert row["AP50_low"] <= row["AP50"] <= row["AP50_high"]
    assert row["AP50"] == pytest.approx(trained.history[-1]["AP50"], abs=1e-6)
    assert row["AP_large"] is None
    assert row["parameters"] == trained.detector.parameters
    assert row["ms_per_image"] > 0
    results = json.loads((folder / "SSD.detections.json").read_text())
    matches = evaluation.match(tiny_records / "val.json", results)
    assert row["errors"] == evaluation.errors_by_kind(matches, 0.3)
    assert read_manifest(folder)["counts"] == {"models": 1, "images": 8}
    (folder / "mark").touch()
    evaluation.evaluate(tiny_records, tiny_dataset, folder, **options)
    assert (folder / "mark").exists()
