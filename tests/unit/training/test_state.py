import numpy as np
import pytest

from helpers.training.state import repeatable_sampling, untrained_detector

tf = pytest.importorskip("tensorflow")


def permutations(seed, step) -> np.ndarray:
    from official.vision.ops import sampling_ops

    with repeatable_sampling(seed, tf.Variable(step, dtype=tf.int64)):
        return np.array([sampling_ops.tf.random.shuffle(tf.range(50)) for _ in range(2)])


def test_a_faster_rcnn_samples_by_seed_step_and_place():
    first = permutations(0, 7)
    np.testing.assert_array_equal(permutations(0, 7), first)
    np.testing.assert_array_equal(np.sort(first), [range(50)] * 2)
    for other in (first[::-1], permutations(0, 8), permutations(1, 7)):
        assert (other != first).any()


def test_only_sampling_is_replaced_and_not_for_longer_than_needed():
    from official.vision.ops import sampling_ops

    shuffle = tf.random.shuffle
    with repeatable_sampling(0, tf.Variable(0)):
        assert tf.random.shuffle is shuffle
        assert sampling_ops.tf.random.shuffle is not shuffle
    assert sampling_ops.tf is tf
    with pytest.raises(RuntimeError, match="while tracing"), repeatable_sampling(0, tf.Variable(0)):
        raise RuntimeError("while tracing")
    assert sampling_ops.tf is tf


def test_an_untrained_detector_is_sure_of_nothing_and_knows_no_names(tiny_config):
    everything = {"task.model.detection_generator.pre_nms_score_threshold": 0.0}
    detector = untrained_detector(tiny_config(edits=everything))
    assert detector.labels == {}
    assert detector.parameters > 10_000
    found = detector(np.full((96, 160, 3), 90, np.uint8), threshold=0)
    assert set(found.data["class_name"]) == {"1"}
    assert 0 < found.confidence.max() < 0.2
