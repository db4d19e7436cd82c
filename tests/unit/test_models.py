import pytest

from helpers import config as configs
from helpers import detector as detectors
from helpers.models import PRESETS

pytest.importorskip("tensorflow")

SMALL = [next(p.name for p in PRESETS.values() if p.family == f) for f in ("ssd", "faster_rcnn")]


def test_each_preset_says_what_it_is():
    for name, preset in PRESETS.items():
        assert preset.name == name
        assert preset.title
        assert preset.family in ("ssd", "faster_rcnn")
        assert preset.ancestor.startswith(preset.family)
        assert 0 < preset.learning_rate < 0.1
    assert len({preset.title for preset in PRESETS.values()}) == len(PRESETS)


@pytest.mark.parametrize("name", SMALL)
def test_the_small_presets_see_objects_in_an_image(name):
    import tensorflow as tf

    config = configs.edit(configs.from_preset(name), {"task.model.num_classes": 3})
    _, model = detectors.build_model(config)
    detector = detectors.build(model, config, {1: "camera", 2: "car"})
    assert 500_000 < detector.parameters < 4_000_000
    height, width = detector.input_size
    # Without tracing a graph: one image takes less time so.
    detect = detector.run.python_function
    boxes, scores, classes = detect(tf.zeros([height - 24, width, 3], tf.uint8))
    assert boxes.shape[1] == 4
    assert boxes.shape[0] == scores.shape[0] == classes.shape[0]
    assert set(classes.numpy().tolist()) <= {0, 1, 2}
    assert boxes.numpy().max() <= width
    assert scores.numpy().min() >= 0
    assert scores.numpy().max() <= 1
