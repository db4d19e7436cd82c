import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from helpers import models
from helpers.common.errors import CourseError
from helpers.inference.detector import load_detector
from helpers.models.networks import WEIGHTS
from helpers.training.finetuning import (
    RESTORED,
    frozen_steps,
    load_pretrained,
    restored_table,
    two_stage,
)
from helpers.training.loop import train

tf = pytest.importorskip("tensorflow")


def weights_of(detector) -> list[np.ndarray]:
    return [weight.numpy() for weight in detector.model.weights]


@pytest.fixture(scope="module", params=["ssd", "faster_rcnn"])
def start(request, tiny_config, tmp_path_factory):
    """(make, path): configs of one family, and a checkpoint of that family's model.

    Every weight in it is 0.25, also those that a fresh model has as zeros or ones.
    """
    _, model = models.build_model(tiny_config(request.param))
    model.set_weights([np.full_like(weight, 0.25) for weight in model.get_weights()])
    items = {"model": model} if request.param == "faster_rcnn" else {}
    checkpoint = tf.train.Checkpoint(**items, **model.checkpoint_items)
    path = checkpoint.write(str(tmp_path_factory.mktemp(request.param) / "start"))

    def make(modules, path=path):
        # The least rate that a schedule can have: one step leaves the weights as they are.
        edits = {"task.init_checkpoint": path, "task.init_checkpoint_modules": modules}
        # After the budget, which checks the config: some of these are to get as far as training.
        return models.edit(tiny_config(request.param, steps=1, rate=1e-9), edits)

    return make, path


HEADS = ("head", "rpn_head", "detection_head")


def part_weights(model, part) -> list[np.ndarray]:
    layers = model.checkpoint_items[part]
    layers = layers if isinstance(layers, list) else [layers]
    return [weight for layer in layers for weight in layer.get_weights()]


@pytest.mark.parametrize(
    ("modules", "parts"),
    [
        ("all", ("backbone", "decoder", *HEADS)),
        (["backbone"], ("backbone",)),
        (["decoder", "backbone"], ("backbone", "decoder")),
    ],
)
def test_what_was_restored_is_counted_part_by_part(start, modules, parts):
    task, model = models.build_model(start[0](modules))
    before = {name: part_weights(model, name) for name in model.checkpoint_items}
    rows = load_pretrained(task, model)
    assert [row["part"] for row in rows][:2] == ["backbone", "decoder"]
    assert {row["part"] for row in rows} == set(before)
    assert sum(row["variables"] for row in rows) == len(model.weights)
    assert sum(row["weights"] for row in rows) == sum(w.size for w in model.get_weights())
    for row in rows:
        after = part_weights(model, row["part"])
        if row["part"] in parts:
            assert row["restored_variables"] == row["variables"] == len(after)
            assert row["restored_weights"] == row["weights"] == sum(w.size for w in after)
            assert all((weight == 0.25).all() for weight in after)
        else:
            assert row["restored_variables"] == row["restored_weights"] == 0
            # Fresh means as it was made, not as it was marked.
            for old, new in zip(before[row["part"]], after, strict=True):
                np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("modules", ["head", ["backbones"], [], "neck"])
def test_loading_nothing_is_an_error(start, modules):
    # As a text, Model Garden looks for its modules' names in it; in a list, among its items.
    task, model = models.build_model(start[0](modules))
    with pytest.raises(CourseError, match=r"init_checkpoint_modules: .*nothing of .* was loaded"):
        load_pretrained(task, model)


def test_a_checkpoint_that_is_not_there_or_does_not_fit_is_an_error(start, tmp_path):
    make, path = start
    for wrong in (f"{path}.index", str(tmp_path), str(tmp_path / "ckpt-0")):
        task, model = models.build_model(make("all", wrong))
        with pytest.raises(CourseError, match=r"init_checkpoint: .*: no checkpoint there; give"):
            load_pretrained(task, model)
    wider = models.edit(make("all"), {"task.model.num_classes": 7})
    task, model = models.build_model(wider)
    with pytest.raises(CourseError, match=r"init_checkpoint: .*: does not fit this model's all"):
        load_pretrained(task, model)
    broken = tmp_path / "broken"
    for end in (".index", ".data-00000-of-00001"):
        broken.with_name(f"broken{end}").write_bytes(b"no checkpoint")
    task, model = models.build_model(make("all", str(broken)))
    with pytest.raises(CourseError, match=r"init_checkpoint: .*broken: does not fit"):
        load_pretrained(task, model)


def test_training_loads_pretrained_weights_once(start, tiny_records, tmp_path, capsys):
    make, path = start
    folder, options = tmp_path / "06_ssd", {"label_map": tiny_records / "label_map.pbtxt"}
    detector, _ = train(make(["backbone"]), folder, **options)
    kernels = [w for w in detector.model.backbone.trainable_weights if "kernel" in w.name]
    for kernel in kernels:
        np.testing.assert_allclose(kernel.numpy(), 0.25, atol=1e-6)
    rows = json.loads((folder / RESTORED).read_text())
    assert [bool(row["restored_weights"]) for row in rows[:2]] == [True, False]
    table = restored_table(rows)
    assert f"{rows[0]['restored_weights']:,}" in table
    assert table in capsys.readouterr().out
    # A resume takes the training's own weights, even where the pretrained ones are gone.
    (folder / WEIGHTS).unlink()
    for file in Path(path).parent.glob("start*"):
        file.rename(file.with_name(f"gone{file.name}"))
    try:
        train(make(["backbone"]), folder, **options)
    finally:
        for file in Path(path).parent.glob("gonestart*"):
            file.rename(file.with_name(file.name.removeprefix("gone")))
    assert table not in capsys.readouterr().out
    assert (folder / WEIGHTS).is_file()


@pytest.fixture(scope="module")
def warm(tiny_config, tmp_path_factory):
    """A config with pretrained weights for its backbone."""
    tf.keras.utils.set_random_seed(5)
    _, model = models.build_model(tiny_config())
    path = str(tmp_path_factory.mktemp("warm") / "start")
    tf.train.Checkpoint(**model.checkpoint_items).write(path)
    start = {"task.init_checkpoint": path, "task.init_checkpoint_modules": ["backbone"]}
    return tiny_config(steps=6, edits=start)


@dataclass(frozen=True)
class TwoStage:
    """Two-stage fine-tuning: weights after each step, by their id in the model.

    (Their order changes with what can be trained, and their names with the session.)
    """

    config: object
    folder: Path
    model: object
    seen: list[dict]
    history: list[dict]


@pytest.fixture(scope="module")
def fine_tuned(warm, tiny_records, tmp_path_factory):
    """3 steps and 3."""
    config, seen = two_stage(warm, 3), []
    folder = tmp_path_factory.mktemp("two_stage") / "06_ssd"

    def score(detector):
        seen.append({id(weight): weight.numpy() for weight in detector.model.weights})
        return {"AP": 0.0}

    detector, history = train(
        config,
        folder,
        label_map=tiny_records / "label_map.pbtxt",
        evaluate=score,
        evaluate_every=1,
    )
    return TwoStage(config, folder, detector.model, seen, history)


def test_the_backbone_moves_in_the_second_stage_only(fine_tuned):
    backbone = {id(weight): weight.name for weight in fine_tuned.model.backbone.weights}
    heads = [id(w) for w in fine_tuned.model.trainable_weights if id(w) not in backbone]
    steps = [
        {key for key in before if (before[key] != after[key]).any()}
        for before, after in pairwise(fine_tuned.seen)
    ]
    assert len(steps) == 5
    for moved in steps[:2]:  # of the first stage: not even running means
        assert not moved & backbone.keys()
        assert moved & set(heads)
    for moved in steps[2:]:
        names = [backbone[key] for key in moved & backbone.keys()]
        assert any(name.endswith("kernel:0") for name in names)
        assert any(name.endswith("moving_mean:0") for name in names)
    # It is the checkpoint's backbone that stood still.
    start = tf.train.load_checkpoint(fine_tuned.config.task.init_checkpoint)
    total = sum(
        np.abs(start.get_tensor(key)).sum()
        for key in start.get_variable_to_shape_map()
        if key.startswith("backbone") and key.endswith("VARIABLE_VALUE")
    )
    still = sum(np.abs(fine_tuned.seen[2][key]).sum() for key in backbone)
    assert still == pytest.approx(total, rel=1e-5)


def test_the_rate_drops_with_the_second_stage(fine_tuned):
    rates = [row["learning_rate"] for row in fine_tuned.history]
    assert max(rates[:2]) == pytest.approx(0.05, rel=0.4)
    assert 0 < max(rates[3:]) <= 0.1 * 0.05 * 1.001
    assert rates[-1] == min(rates) >= 0
    # The file says it all.
    assert frozen_steps(models.load_config(fine_tuned.folder / "config.yaml")) == 3


def sums(weights) -> np.ndarray:
    """Sums of weights in an order that depends on neither the layers' names nor what is frozen."""
    return np.sort([float(np.abs(value).sum()) for value in weights])


def test_two_stage_fine_tuning_is_stored_as_it_was_trained(fine_tuned):
    stored = weights_of(load_detector(fine_tuned.folder))
    np.testing.assert_allclose(sums(stored), sums(fine_tuned.seen[-1].values()), rtol=1e-6)


def test_two_stage_fine_tuning_resumes_in_either_stage(fine_tuned, tiny_records, tmp_path):
    def stop(history, at):
        if history[-1]["step"] == at:
            raise KeyboardInterrupt

    for at in (1, 4, None):
        detector, _ = train(
            fine_tuned.config,
            tmp_path / "06_ssd",
            label_map=tiny_records / "label_map.pbtxt",
            on_report=lambda history, at=at: stop(history, at),
            report_every=1,
        )
    last = fine_tuned.seen[-1].values()
    np.testing.assert_allclose(sums(weights_of(detector)), sums(last), rtol=1e-5)


@pytest.mark.parametrize(
    ("steps", "edits", "fault"),
    [
        (3, {"task.init_checkpoint": None}, "task.init_checkpoint: not set; a frozen backbone"),
        (0, {}, "two_stage: steps: 0 of 6; give"),
        (6, {}, "two_stage: steps: 6 of 6; give"),
        (3, {"trainer.optimizer_config.learning_rate.type": "constant"}, "type: 'constant'; set"),
    ],
)
def test_stages_that_cannot_be_are_refused(warm, steps, edits, fault):
    with pytest.raises(CourseError, match=fault):
        two_stage(models.edit(warm, edits), steps)


def test_without_stages_the_config_alone_says_what_is_frozen(warm):
    assert frozen_steps(warm) == 0
    assert frozen_steps(models.edit(warm, {"task.freeze_backbone": True})) == 6
    assert frozen_steps(two_stage(warm, 2)) == 2


def test_one_schedule_does_not_silently_replace_two(warm):
    with pytest.raises(CourseError, match="has two stages already"):
        models.with_budget(two_stage(warm, 2), train_steps=20)
