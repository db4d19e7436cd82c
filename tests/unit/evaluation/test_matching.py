import pytest
from coco_cases import four_faults, result, truth_file

from helpers import evaluation
from helpers.common.errors import CourseError


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
    assert (matches.best_score > 0).all()
    assert matches.iou == pytest.approx([38 / 42, 39 / 41, 1, 39 / 41])


def test_all_detections_of_a_crowded_image_are_matched(tmp_path):
    """COCO drops those beyond the first hundred of a class; a threshold of ours does that."""
    boxes = [(x, y, 8, 8) for x in range(0, 150, 10) for y in range(0, 100, 10)]
    path = truth_file(tmp_path, [(1, 1, box) for box in boxes])
    results = [result(1, 1, box, 0.9 - i / 1000) for i, box in enumerate(boxes)]
    before = [dict(item) for item in results]
    matches = evaluation.match(path, results)
    assert len(boxes) == 150
    assert matches.correct.all()
    assert matches.best_score.tolist() == [item["score"] for item in results]
    assert results == before, "what was given stays as it was"


def test_class_and_image_must_be_right_too(tmp_path):
    path = truth_file(tmp_path, [(1, 1, (10, 10, 40, 40)), (2, 2, (10, 10, 40, 40))])
    results = [result(1, 2, (10, 10, 40, 40), 0.9), result(2, 1, (10, 10, 40, 40), 0.9)]
    matches = evaluation.match(path, results)
    assert not matches.correct.any()
    assert not matches.best_score.any()


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
    assert evaluation.count_at(matches, 0.5) == {
        "true_positives": 0,
        "false_negatives": 1,
        "false_positives": 1,
    }
    curve = evaluation.precision_recall(matches)
    assert curve["score"].tolist() == [0.7]


def test_faults_are_told_apart(tmp_path):
    matches = evaluation.match(*four_faults(tmp_path))
    expected = {"missed": 2, "localization": 1, "duplicate": 1, "background": 1}
    assert evaluation.errors_by_kind(matches, 0.5) == expected
    low = {"missed": 1, "localization": 1, "duplicate": 1, "background": 2}
    assert evaluation.errors_by_kind(matches, 0.1) == low
    assert evaluation.errors_by_kind(matches, 0.99) == dict.fromkeys(expected, 0) | {"missed": 4}


def test_counts_follow_the_threshold(tmp_path):
    matches = evaluation.match(*four_faults(tmp_path))
    assert evaluation.count_at(matches, 0.5) == {
        "true_positives": 2,
        "false_negatives": 2,
        "false_positives": 3,
    }
    assert evaluation.count_at(matches, 0.92) == {
        "true_positives": 1,
        "false_negatives": 3,
        "false_positives": 0,
    }
    assert evaluation.count_at(matches, 0.0) == {
        "true_positives": 3,
        "false_negatives": 1,
        "false_positives": 4,
    }


def test_the_curve_runs_from_the_surest_down(tmp_path):
    curve = evaluation.precision_recall(evaluation.match(*four_faults(tmp_path)))
    assert curve["score"].tolist() == [0.95, 0.9, 0.8, 0.7, 0.6, 0.3, 0.2]
    assert curve["precision"] == pytest.approx([1, 1, 2 / 3, 1 / 2, 2 / 5, 1 / 2, 3 / 7])
    assert curve["recall"] == pytest.approx([0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 0.75])


@pytest.mark.parametrize(
    ("kind", "images"),
    [
        ("true_positives", ["1.jpg"]),
        # Image 2's object is larger than image 3's.
        ("false_negatives", ["2.jpg", "3.jpg"]),
        ("false_positives", ["3.jpg", "1.jpg", "4.jpg"]),
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
    example = evaluation.examples(evaluation.match(path, results), path, "true_positives", 0.5)[0]
    assert [box.xyxy for box in example.truth] == [(10, 10, 50, 50), (100, 10, 140, 50)]
    assert {box.label for box in example.truth} == {"class1"}
    assert example.detections.confidence.tolist() == [0.95, 0.9, 0.7]
    assert example.detections.xyxy[0].tolist() == [10, 10, 50, 50]
    missed = evaluation.examples(evaluation.match(path, results), path, "false_negatives", 0.5)[0]
    assert missed.detections.xyxy.shape == (0, 4)


def test_a_difficult_object_is_no_example_of_a_false_negative(tmp_path):
    path = truth_file(tmp_path, [(1, 1, (10, 10, 90, 90), True), (2, 1, (10, 10, 20, 20))])
    found = evaluation.examples(evaluation.match(path, []), path, "false_negatives", 0.5)
    assert [example.image for example in found] == ["2.jpg"]


def test_an_unknown_kind_of_example_is_refused(tmp_path):
    path, results = four_faults(tmp_path)
    with pytest.raises(
        CourseError, match=r"kind: 'miss'; use one of true_positives, false_negatives, "
    ):
        evaluation.examples(evaluation.match(path, results), path, "miss", 0.5)


def mixed_up(tmp_path):
    """A cat found as a dog, a dog found, one missed, a difficult one; a detection of nothing."""
    path = truth_file(
        tmp_path,
        [
            (1, 1, (10, 10, 40, 40)),
            (1, 2, (100, 10, 40, 40)),
            (2, 2, (10, 10, 60, 60)),
            (2, 1, (100, 100, 40, 40), True),
        ],
        {1: "", 2: "", 3: ""},
        categories=(1, 2),
    )
    return path, [
        result(1, 2, (11, 10, 40, 40), 0.95),  # the cat, as a dog
        result(1, 2, (100, 10, 40, 40), 0.9),
        result(2, 2, (102, 100, 40, 40), 0.8),  # the difficult cat, as a dog
        result(3, 1, (50, 50, 30, 30), 0.7),  # nothing
        result(2, 1, (10, 10, 60, 60), 0.3),  # the other dog, as a cat, below 0.5
    ]


def test_a_box_on_another_class_is_no_background(tmp_path):
    path, results = mixed_up(tmp_path)
    matches = evaluation.match(path, results)
    assert matches.other_iou == pytest.approx([39 / 41, 0, 38 / 42, 0, 1])
    assert evaluation.errors_by_kind(matches, 0.5) == {
        "missed": 2,
        "localization": 0,
        "duplicate": 0,
        "other class": 2,
        "background": 1,
    }
    assert evaluation.errors_by_kind(matches, 0.2)["other class"] == 3


def test_a_box_beside_its_own_and_upon_another_is_the_others(tmp_path):
    objects = [(1, 1, (0, 0, 40, 40)), (1, 2, (30, 0, 40, 40))]
    path = truth_file(tmp_path, objects, categories=(1, 2))
    near_both = evaluation.match(path, [result(1, 1, (22, 0, 40, 40), 0.9)])
    assert 0.1 < near_both.iou[0] < 0.5 < near_both.other_iou[0]
    assert evaluation.errors_by_kind(near_both, 0.5)["other class"] == 1
    badly_placed = evaluation.match(path, [result(1, 1, (15, 0, 40, 40), 0.9)])
    # As much on both: its own comes first.
    assert badly_placed.iou[0] == pytest.approx(badly_placed.other_iou[0])
    assert evaluation.errors_by_kind(badly_placed, 0.5)["localization"] == 1


def test_confusion_counts_each_object_and_detection_once(tmp_path):
    path, results = mixed_up(tmp_path)
    names, counts = evaluation.confusion(path, results, 0.5)
    assert names == ["class1", "class2"]
    # Columns: class1, class2, missed.
    assert counts.tolist() == [[0, 1, 0], [0, 1, 1], [1, 0, 0]]
    table = evaluation.confusion_table(names, counts)
    assert table.loc["class1", "class2"] == table.loc["(nothing there)", "class1"] == 1
    line = evaluation.most_confused(names, counts)
    assert line.endswith("1 of 3 objects; most often class1 for class2 (1).")
    assert evaluation.confusion(path, results, 0.2)[1].tolist() == [[0, 1, 0], [1, 1, 0], [1, 0, 0]]


def test_nobody_is_confused_where_nothing_is_detected(tmp_path):
    path, _ = mixed_up(tmp_path)
    names, counts = evaluation.confusion(path, [], 0.5)
    assert counts.tolist() == [[0, 0, 1], [0, 0, 2], [0, 0, 0]]
    assert evaluation.most_confused(names, counts) == ""


def test_a_detector_that_is_unsure_of_everything_says_so(tmp_path):
    _, results = mixed_up(tmp_path)
    assert evaluation.silence(results, 0.4, 500) == ""
    line = evaluation.silence([result(1, 1, (0, 0, 9, 9), 0.146)], 0.4, 500)
    assert line.startswith("The highest score on the held-out images is 0.15: nothing is drawn at")
    assert "train_steps = 1500, now 500" in line
    assert "0.00" in evaluation.silence([], 0.4, 4)


def test_examples_name_their_classes(tmp_path):
    path, results = mixed_up(tmp_path)
    example = evaluation.examples(evaluation.match(path, results), path, "true_positives", 0.5)[0]
    assert example.detections.data["class_name"].tolist() == ["class2", "class2"]
