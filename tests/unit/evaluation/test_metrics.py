import json

import cv2
import numpy as np
import pytest
from coco_cases import SIDE, correlated, random_case, result, truth_file

from helpers import evaluation
from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.evaluation.metrics import NAMES


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


def test_the_mean_over_the_classes_is_the_score(tmp_path):
    for seed in range(10):
        path, results = random_case(tmp_path, seed)
        rows, whole = (
            evaluation.class_metrics(path, results),
            evaluation.coco_metrics(path, results),
        )
        assert list(rows) == ["class1", "class2", "class3"]
        for name in ("AP", "AP50"):
            values = [row[name] for row in rows.values() if row[name] is not None]
            assert np.mean(values) == pytest.approx(whole[name])


def test_scores_of_classes_found_missed_and_absent(tmp_path):
    objects = [(1, 1, (10, 10, 50, 50)), (1, 2, (80, 80, 50, 50)), (2, 3, (0, 0, 40, 40), True)]
    path = truth_file(tmp_path, objects, categories=(1, 2, 3))
    found = [result(1, 1, (10, 10, 50, 50), 0.9), result(1, 2, (10, 10, 50, 50), 0.8)]
    assert evaluation.class_metrics(path, found) == {
        "class1": {"AP": pytest.approx(1), "AP50": pytest.approx(1), "objects": 1},
        "class2": {"AP": 0, "AP50": 0, "objects": 1},
        "class3": {"AP": None, "AP50": None, "objects": 0},
    }
    nothing = evaluation.class_metrics(path, [])
    assert [row["AP"] for row in nothing.values()] == [0, 0, None]


def test_coco_has_no_number_where_there_is_nothing_to_find(tmp_path):
    # 20 x 20 pixels is small; 50 x 50 is medium.
    path = truth_file(tmp_path, [(1, 1, (10, 10, 50, 50)), (2, 1, (10, 10, 20, 20), True)])
    metrics = evaluation.coco_metrics(path, [result(1, 1, (10, 10, 50, 50), 0.9)])
    assert tuple(metrics) == NAMES
    assert metrics["AP"] == metrics["AP50"] == metrics["AP_medium"] == pytest.approx(1)
    assert metrics["AP_small"] is None
    assert metrics["AP_large"] is None
    half = [result(1, 1, (10, 10, 50, 25.5), 0.9)]
    assert evaluation.coco_metrics(path, half)["AP"] == pytest.approx(0.1)


def test_no_detections_score_zero(tmp_path):
    path = truth_file(tmp_path, [(1, 1, (10, 10, 50, 50))])
    assert evaluation.coco_metrics(path, []) == dict.fromkeys(NAMES, 0.0)
    matches = evaluation.match(path, [])
    assert evaluation.count_at(matches, 0.5) == {
        "true_positives": 0,
        "false_negatives": 1,
        "false_positives": 0,
    }
    assert mean_ap(matches) == 0
    assert evaluation.precision_recall(matches)["recall"].tolist() == []


def test_detections_where_there_is_nothing_have_no_score(tmp_path):
    path = truth_file(tmp_path, [], {1: ""})
    assert evaluation.coco_metrics(path, [result(1, 1, (0, 0, 9, 9), 0.9)])["AP"] is None


def test_average_precision_of_known_curves():
    assert evaluation.average_precision(np.array([True, True]), 2) == pytest.approx(1)
    assert evaluation.average_precision(np.array([True]), 2) == pytest.approx(51 / 101)
    assert evaluation.average_precision(np.array([False, True]), 1) == pytest.approx(0.5)
    assert evaluation.average_precision(np.array([], bool), 3) == 0
    assert np.isnan(evaluation.average_precision(np.array([False]), 0))


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
    assert set(NAMES) < set(row)
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
    assert row["classes"]["camera"]["AP"] == pytest.approx(row["AP"])
    assert read_manifest(folder)["counts"] == {"models": 1, "images": 8}
    held_out = json.loads((tiny_records / "val.json").read_text())
    three = held_out | {"images": held_out["images"][:3]}
    three["annotations"] = [
        a
        for a in held_out["annotations"]
        if a["image_id"] in {image["id"] for image in three["images"]}
    ]
    other = tmp_path / "records"
    other.mkdir()
    (other / "test.json").write_text(json.dumps(three))
    tested = evaluation.evaluate(other, tiny_dataset, tmp_path / "test", split="test", **options)
    assert read_manifest(tested)["counts"] == {"models": 1, "images": 3}
    with pytest.raises(CourseError, match=r"val.json: missing"):
        evaluation.evaluate(other, tiny_dataset, tmp_path / "val", **options)
    (folder / "mark").touch()
    evaluation.evaluate(tiny_records, tiny_dataset, folder, **options)
    assert (folder / "mark").exists()
