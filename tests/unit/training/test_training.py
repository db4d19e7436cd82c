import csv
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from helpers.annotations.label_map import write_label_map
from helpers.common.artifacts import read_manifest
from helpers.common.errors import CourseError
from helpers.common.images import read_image
from helpers.inference import detector as detectors
from helpers.models import config as configs
from helpers.models.networks import CONFIG, LABEL_MAP, WEIGHTS, build_model
from helpers.training import loop as training

tf = pytest.importorskip("tensorflow")


def test_a_stopped_training_returns_and_keeps_what_there_is(trained):
    assert [row["step"] for row in trained.first] == list(range(2, trained.STOP + 1, 2))
    assert [row["step"] for row in trained.after_stop["history"]] == [
        row["step"] for row in trained.first
    ]
    # No weights and no manifest: nothing takes it for a finished detector.
    files = ["checkpoints", "events", "history.csv", "training.yaml"]
    assert trained.after_stop["files"] == files


def test_a_stopped_training_goes_on_to_the_end(trained):
    assert [row["step"] for row in trained.history] == list(range(2, trained.STEPS + 1, 2))
    for before, after in zip(trained.first, trained.history, strict=False):
        assert after == pytest.approx(before, nan_ok=True)
    seconds = [row["seconds"] for row in trained.history]
    assert seconds == sorted(seconds)
    # The rate goes on along its cosine, down to zero.
    rates = [row["learning_rate"] for row in trained.history]
    top = rates.index(max(rates))
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-6)


def test_the_loss_falls(trained):
    losses = [row["total_loss"] for row in trained.history]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    assert all(row["images_per_second"] > 0 for row in trained.history)


def test_scores_are_kept_with_their_step(trained):
    scored = {row["step"] for row in trained.history if "AP50" in row}
    assert scored == {40, trained.STEPS}
    assert 0 <= trained.history[-1]["AP50"] <= 1
    # There are no large objects, so COCO has no number for them.
    assert np.isnan(trained.history[-1]["AP_large"])


def test_the_folder_holds_all_that_the_lessons_read(trained):
    with (trained.folder / training.HISTORY).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(trained.history) == 30
    assert {"step", "total_loss", "learning_rate", "images_per_second", "AP50"} <= set(rows[0])
    read = training.read_history(trained.folder)
    assert read[-1] == pytest.approx(trained.history[-1], nan_ok=True)
    checkpoint = tf.train.latest_checkpoint(str(trained.folder / training.CHECKPOINTS))
    assert checkpoint.endswith(f"-{trained.STEPS}")
    manifest = read_manifest(trained.folder)
    steps = trained.STEPS
    delivered = training.best_row(trained.history)["step"]
    assert manifest["counts"] == {"steps": steps, "images": 4 * steps, "delivered": delivered}
    for name in (WEIGHTS, CONFIG, LABEL_MAP):
        assert (trained.folder / name).stat().st_size > 0
    assert (
        configs.difference(configs.load_config(trained.folder / "config.yaml"), trained.config)
        == []
    )


def test_tensorboard_finds_the_curves(trained):
    from tensorboard.backend.event_processing import event_multiplexer

    # What TensorBoard itself reads the folder with: one run, of the two calls' files.
    multiplexer = event_multiplexer.EventMultiplexer(size_guidance={"tensors": 0})  # all
    multiplexer.AddRunsFromDirectory(str(trained.folder / training.EVENTS)).Reload()
    (run,) = multiplexer.Runs()
    for name in ("total_loss", "AP50", "learning_rate", "images_per_second"):
        curve = {
            e.step: float(tf.make_ndarray(e.tensor_proto)) for e in multiplexer.Tensors(run, name)
        }
        assert curve == pytest.approx({r["step"]: r[name] for r in trained.history if name in r})


def test_a_finished_training_is_not_done_again(trained, capsys):
    manifest, seen = read_manifest(trained.folder), []
    _, history = training.train(
        trained.config, trained.folder, label_map=trained.label_map, on_report=seen.append
    )
    assert seen == [history]
    assert [row["step"] for row in history] == [row["step"] for row in trained.history]
    assert read_manifest(trained.folder)["fingerprint"] == manifest["fingerprint"]
    assert f"trained already, {trained.STEPS} steps" in capsys.readouterr().out


def test_a_training_stopped_in_its_last_evaluation_makes_up_for_it(trained, tiny_dataset, tmp_path):
    folder = tmp_path / "06_ssd"
    shutil.copytree(trained.folder, folder)
    # What such a stop leaves: all steps, no score for the last, no detector.
    for name in (WEIGHTS, "manifest.json"):
        (folder / name).unlink()
    rows = training.read_history(folder)
    for name in ("AP50", "AP_large", "score"):
        del rows[-1][name]
    training.write_rows(folder / training.HISTORY, rows)
    assert "AP50" not in training.read_history(folder)[-1]
    picture = read_image(next(iter(sorted((tiny_dataset / "images").iterdir()))))
    detector, history = training.train(
        trained.config,
        folder,
        label_map=trained.label_map,
        evaluate=lambda _: {"AP50": 1.25},
        watch=[picture, picture[:40]],
    )
    assert history[-1]["AP50"] == training.read_history(folder)[-1]["AP50"] == 1.25
    assert (folder / WEIGHTS).is_file()
    (look,) = training.read_film(folder)
    assert look["step"] == trained.STEPS
    found = detector(picture, threshold=training.WATCHED)[:10]
    assert len(found) == len(look["found"][0]) > 0
    np.testing.assert_allclose([box[:4] for box in look["found"][0]], found.xyxy, atol=1e-3)
    np.testing.assert_allclose([box[4] for box in look["found"][0]], found.confidence, atol=1e-3)


def test_what_happened_after_the_checkpoint_is_forgotten(trained, tmp_path):
    folder = tmp_path / "06_ssd"
    shutil.copytree(trained.folder, folder)
    rows = (folder / training.HISTORY).read_text().splitlines()
    rows.append(rows[-1].replace(f"{trained.STEPS},", f"{trained.STEPS + 2},", 1))
    (folder / training.HISTORY).write_text("\n".join(rows))
    assert training.read_history(folder)[-1]["step"] == trained.STEPS + 2
    _, history = training.train(trained.config, folder, label_map=trained.label_map)
    assert history[-1]["step"] == trained.STEPS


@pytest.fixture(scope="module")
def killed(trained, tmp_path_factory):
    """The training of `trained` once more, killed after 14 steps; checkpoints every 4."""
    folder, seen = tmp_path_factory.mktemp("killed") / "06_ssd", []

    def kill(history):
        seen[:] = [dict(row) for row in history]
        if history[-1]["step"] == 14:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        training.train(
            trained.config,
            folder,
            label_map=trained.label_map,
            on_report=kill,
            report_every=2,
            checkpoint_every=4,
        )
    return folder, seen


def test_a_killed_training_has_the_last_checkpoint_and_its_history(killed):
    folder, _ = killed
    assert [row["step"] for row in training.read_history(folder)] == [2, 4, 6, 8, 10, 12]
    checkpoint = tf.train.latest_checkpoint(str(folder / training.CHECKPOINTS))
    assert checkpoint.endswith("-12")
    assert not (folder / WEIGHTS).exists()


def test_the_same_seed_gives_the_same_losses(trained, killed):
    _, again = killed
    names = [name for name in again[0] if name.endswith("loss")]
    assert "total_loss" in names
    for row, other in zip(trained.first, again, strict=False):
        for name in names:
            assert other[name] == pytest.approx(row[name], rel=1e-5), (row["step"], name)


def test_another_config_sets_the_folder_aside_and_a_lost_loss_is_said(killed, tiny_config, capsys):
    folder, _ = killed
    optimizer = "trainer.optimizer_config.optimizer"
    config = tiny_config(steps=30, rate=1e9)
    kind = config.trainer.optimizer_config.optimizer.type
    config = configs.edit(config, {f"{optimizer}.{kind}.global_clipnorm": None})
    label_map = folder.parent / "label_map.pbtxt"
    write_label_map(["camera"], label_map)
    with pytest.raises(CourseError, match=r"06_ssd: step \d+: the loss is (nan|inf); lower the"):
        training.train(config, folder, label_map=label_map, report_every=1)
    assert "was trained with another config" in capsys.readouterr().out
    previous = folder.with_name("06_ssd.previous")
    assert training.read_history(previous)[-1]["step"] == 12
    assert not (folder / WEIGHTS).exists()
    assert configs.difference(configs.load_config(folder / "training.yaml"), config) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no item in it"),
        ("item { id: 1 name: 'a' } item { id: 2 name: 'b' }", "ids up to 2, but .* is 2; run"),
    ],
)
def test_a_label_map_that_does_not_fit_is_refused(tiny_config, tmp_path, text, fault):
    (tmp_path / "label_map.pbtxt").write_text(text)
    with pytest.raises(CourseError, match=rf"label_map.pbtxt: {fault}"):
        training.train(tiny_config(), tmp_path / "a", label_map=tmp_path / "label_map.pbtxt")
    assert not (tmp_path / "a").exists()


def test_there_is_no_history_before_the_first_report(tmp_path):
    assert training.read_history(tmp_path) == []


@pytest.fixture(scope="module", params=["ssd", "faster_rcnn"])
def start(request, tiny_config, tmp_path_factory):
    """(make, path): configs of one family, and a checkpoint of that family's model.

    Every weight in it is 0.25, also those that a fresh model has as zeros or ones.
    """
    _, model = build_model(tiny_config(request.param))
    model.set_weights([np.full_like(weight, 0.25) for weight in model.get_weights()])
    items = {"model": model} if request.param == "faster_rcnn" else {}
    checkpoint = tf.train.Checkpoint(**items, **model.checkpoint_items)
    path = checkpoint.write(str(tmp_path_factory.mktemp(request.param) / "start"))

    def make(modules, path=path):
        # The least rate that a schedule can have: one step leaves the weights as they are.
        edits = {"task.init_checkpoint": path, "task.init_checkpoint_modules": modules}
        # After the budget, which checks the config: some of these are to get as far as training.
        return configs.edit(tiny_config(request.param, steps=1, rate=1e-9), edits)

    return make, path


HEADS = ("head", "rpn_head", "detection_head")


def weights_of(model, part) -> list:
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
    task, model = build_model(start[0](modules))
    before = {name: weights_of(model, name) for name in model.checkpoint_items}
    rows = training.load_pretrained(task, model)
    assert [row["part"] for row in rows][:2] == ["backbone", "decoder"]
    assert {row["part"] for row in rows} == set(before)
    assert sum(row["variables"] for row in rows) == len(model.weights)
    assert sum(row["weights"] for row in rows) == sum(w.size for w in model.get_weights())
    for row in rows:
        after = weights_of(model, row["part"])
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
    task, model = build_model(start[0](modules))
    with pytest.raises(CourseError, match=r"init_checkpoint_modules: .*nothing of .* was loaded"):
        training.load_pretrained(task, model)


def test_a_start_that_is_not_there_or_does_not_fit_is_an_error(start, tmp_path):
    make, path = start
    for wrong in (f"{path}.index", str(tmp_path), str(tmp_path / "ckpt-0")):
        task, model = build_model(make("all", wrong))
        with pytest.raises(CourseError, match=r"init_checkpoint: .*: no checkpoint there; give"):
            training.load_pretrained(task, model)
    wider = configs.edit(make("all"), {"task.model.num_classes": 7})
    task, model = build_model(wider)
    with pytest.raises(CourseError, match=r"init_checkpoint: .*: does not fit this model's all"):
        training.load_pretrained(task, model)
    broken = tmp_path / "broken"
    for end in (".index", ".data-00000-of-00001"):
        broken.with_name(f"broken{end}").write_bytes(b"no checkpoint")
    task, model = build_model(make("all", str(broken)))
    with pytest.raises(CourseError, match=r"init_checkpoint: .*broken: does not fit"):
        training.load_pretrained(task, model)


def test_training_starts_from_the_checkpoint_once(start, tiny_records, tmp_path, capsys):
    make, path = start
    folder, options = tmp_path / "06_ssd", {"label_map": tiny_records / "label_map.pbtxt"}
    detector, _ = training.train(make(["backbone"]), folder, **options)
    kernels = [w for w in detector.model.backbone.trainable_weights if "kernel" in w.name]
    for kernel in kernels:
        np.testing.assert_allclose(kernel.numpy(), 0.25, atol=1e-6)
    rows = json.loads((folder / training.RESTORED).read_text())
    assert [bool(row["restored_weights"]) for row in rows[:2]] == [True, False]
    table = training.restored_table(rows)
    assert f"{rows[0]['restored_weights']:,}" in table
    assert table in capsys.readouterr().out
    # Going on means the training's own weights, even where the start has gone.
    (folder / WEIGHTS).unlink()
    for file in Path(path).parent.glob("start*"):
        file.rename(file.with_name(f"gone{file.name}"))
    try:
        training.train(make(["backbone"]), folder, **options)
    finally:
        for file in Path(path).parent.glob("gonestart*"):
            file.rename(file.with_name(file.name.removeprefix("gone")))
    assert table not in capsys.readouterr().out
    assert (folder / WEIGHTS).is_file()


KILLED = """
import os, signal, sys
from pathlib import Path
from helpers import config, training

training.ROUND = 6
folder = Path(sys.argv[2])

def report(history):
    if history[-1]["step"] == 10:
        os.kill(os.getpid(), signal.SIGKILL)

training.train(
    config.load(sys.argv[1]),
    folder,
    label_map=Path(sys.argv[3]),
    on_report=report,
    report_every=2,
    checkpoint_every=3,
)
"""


@pytest.mark.parametrize("family", ["ssd", "faster_rcnn"])
def test_after_a_kill_it_ends_with_the_weights_of_an_uninterrupted_training(
    family, tiny_config, tiny_records, tmp_path, monkeypatch
):
    config, label_map = tiny_config(family, steps=18), tiny_records / "label_map.pbtxt"
    configs.save_config(config, tmp_path / "config.yaml")
    folder = tmp_path / "killed"
    arguments = [tmp_path / "config.yaml", folder, label_map]
    child = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, arguments)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    assert training.read_history(folder)[-1]["step"] == 8
    checkpoint = tf.train.latest_checkpoint(str(folder / training.CHECKPOINTS))
    assert checkpoint.endswith("-9")
    # A round has 8 steps: the killed one resumes within the second, and both begin a third.
    monkeypatch.setattr(training, "ROUND", 6)
    whole, _ = training.train(config, tmp_path / "whole", label_map=label_map)
    resumed, _ = training.train(config, folder, label_map=label_map)
    for one, other in zip(whole.model.weights, resumed.model.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-6, err_msg=one.name)


def values_of(detector) -> list[np.ndarray]:
    return [weight.numpy() for weight in detector.model.weights]


def test_the_best_detector_is_delivered_also_after_a_kill(tiny_config, tiny_records, tmp_path):
    folder, seen = tmp_path / "06_ssd", []
    options = {"label_map": tiny_records / "label_map.pbtxt", "report_every": 1}
    picture = np.zeros((60, 90, 3), np.uint8)
    options |= {"evaluate_every": 2, "watch": [picture]}

    def score(detector, scores):
        seen.append(values_of(detector))
        # AP decides, not what comes first.
        return {"AP50": 0.9 - 0.1 * len(seen), "AP": scores[len(seen) - 1]}

    def kill(history):
        if history[-1]["step"] == 5:
            raise RuntimeError("killed")

    config = tiny_config(steps=6)
    with pytest.raises(RuntimeError, match="killed"):
        training.train(
            config, folder, evaluate=lambda d: score(d, (0.1, 0.5)), on_report=kill, **options
        )
    del seen[:1]
    # Step 6 is the last and the worst.
    detector, history = training.train(
        config, folder, evaluate=lambda d: score(d, (None, 0.3)), **options
    )
    assert [row["step"] for row in history if "AP" in row] == [2, 4, 6]
    assert training.best_row(history)["step"] == 4
    assert read_manifest(folder)["counts"]["delivered"] == 4
    for stored in (detector, detectors.load_detector(folder)):
        for one, other in zip(values_of(stored), seen[0], strict=True):
            np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(*seen, strict=True))
    assert [look["step"] for look in training.read_film(folder)] == [0, 2, 4, 6]
    assert [path.name for path in sorted((folder / training.BEST).glob("*.index"))] == [
        "ckpt-4.index"
    ]


def test_patience_ends_a_training_that_no_longer_gets_better(
    tiny_config, tiny_records, tmp_path, capsys
):
    config, folder = tiny_config(steps=8), tmp_path / "06_ssd"
    # Two at 0, where nothing is found yet, do not end it; an equal one is no better.
    scores = iter((0.0, 0.0, 0.0, 0.5, 0.5, 0.4, 0.6, 0.1))
    options = {
        "label_map": tiny_records / "label_map.pbtxt",
        "evaluate": lambda _: {"found": next(scores)},
        "evaluate_every": 1,
    }
    _, history = training.train(config, folder, patience=2, **options)
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    # Of equals the later one, which has been trained longer.
    assert training.best_row(history)["step"] == 5
    assert read_manifest(folder)["counts"]["steps"] == 6
    assert "no better score in 2 evaluations" in capsys.readouterr().out
    _, again = training.train(config, folder, patience=2, **options)
    assert [row["step"] for row in again] == [1, 2, 3, 4, 5, 6]
    assert "trained already, 6 steps" in capsys.readouterr().out
    # With more patience it goes on from there.
    _, longer = training.train(config, folder, **options)
    assert [row["found"] for row in longer] == [0.0, 0.0, 0.0, 0.5, 0.5, 0.4, 0.6, 0.1]
    assert read_manifest(folder)["counts"]["delivered"] == 7


class Huge:
    """An image for which there is no memory."""

    def __init__(self, error):
        self.error = error

    @property
    def ndim(self):
        raise self.error


@pytest.mark.parametrize("kind", ["TensorFlow", "Python"])
def test_exhausted_memory_is_explained(kind, tiny_config, tiny_records, tmp_path):
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore lines")
    with pytest.raises(CourseError) as caught:
        training.train(
            tiny_config(),
            tmp_path / "06_ssd",
            label_map=tiny_records / "label_map.pbtxt",
            watch=[Huge(error if kind == "TensorFlow" else MemoryError())],
        )
    message = str(caught.value)
    assert (
        "memory is exhausted with batches of 4 images of 128x64; halve task.train_data" in message
    )
    assert "\n" not in message


def test_lost_weights_are_not_saved_and_a_lower_rate_goes_on(
    tiny_config, tiny_records, tmp_path, capsys
):
    folder = tmp_path / "06_ssd"
    options = {"label_map": tiny_records / "label_map.pbtxt", "checkpoint_every": 2}
    options |= {"report_every": 1, "evaluate_every": 4}

    def lose(detector):
        detector.model.trainable_weights[0].assign(
            np.full_like(detector.model.trainable_weights[0], np.nan)
        )
        return {"AP": 0.0}

    with pytest.raises(CourseError, match=r"step 4: the weights .*goes on from step 2; if"):
        training.train(tiny_config(steps=6, rate=0.05), folder, evaluate=lose, **options)
    lower = tiny_config(steps=6, rate=0.005)
    detector, history = training.train(lower, folder, **options)
    assert "going on with another learning rate" in capsys.readouterr().out
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[1]["learning_rate"] > 5 * history[2]["learning_rate"]
    assert np.isfinite(history[-1]["total_loss"])
    assert all(np.isfinite(value).all() for value in values_of(detector))
    assert configs.difference(configs.load_config(folder / "config.yaml"), lower) == []
    assert not folder.with_name("06_ssd.previous").exists()


@pytest.fixture(scope="module")
def warm(tiny_config, tmp_path_factory):
    """A config with starting weights for its backbone."""
    tf.keras.utils.set_random_seed(5)
    _, model = build_model(tiny_config())
    path = str(tmp_path_factory.mktemp("warm") / "start")
    tf.train.Checkpoint(**model.checkpoint_items).write(path)
    start = {"task.init_checkpoint": path, "task.init_checkpoint_modules": ["backbone"]}
    return tiny_config(steps=6, edits=start)


@dataclass(frozen=True)
class Staged:
    """A training in two stages: weights after each step, by their id in the model.

    (Their order changes with what can be trained, and their names with the session.)
    """

    config: object
    folder: Path
    model: object
    seen: list[dict]
    history: list[dict]


@pytest.fixture(scope="module")
def in_stages(warm, tiny_records, tmp_path_factory):
    """3 steps and 3."""
    config, seen = training.two_stage(warm, 3), []
    folder = tmp_path_factory.mktemp("staged") / "06_ssd"

    def score(detector):
        seen.append({id(weight): weight.numpy() for weight in detector.model.weights})
        return {"AP": 0.0}

    detector, history = training.train(
        config,
        folder,
        label_map=tiny_records / "label_map.pbtxt",
        evaluate=score,
        evaluate_every=1,
    )
    return Staged(config, folder, detector.model, seen, history)


def test_the_backbone_moves_in_the_second_stage_only(in_stages):
    backbone = {id(weight): weight.name for weight in in_stages.model.backbone.weights}
    heads = [id(w) for w in in_stages.model.trainable_weights if id(w) not in backbone]
    steps = [
        {key for key in before if (before[key] != after[key]).any()}
        for before, after in pairwise(in_stages.seen)
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
    start = tf.train.load_checkpoint(in_stages.config.task.init_checkpoint)
    total = sum(
        np.abs(start.get_tensor(key)).sum()
        for key in start.get_variable_to_shape_map()
        if key.startswith("backbone") and key.endswith("VARIABLE_VALUE")
    )
    still = sum(np.abs(in_stages.seen[2][key]).sum() for key in backbone)
    assert still == pytest.approx(total, rel=1e-5)


def test_the_rate_drops_with_the_second_stage(in_stages):
    rates = [row["learning_rate"] for row in in_stages.history]
    assert max(rates[:2]) == pytest.approx(0.05, rel=0.4)
    assert 0 < max(rates[3:]) <= 0.1 * 0.05 * 1.001
    assert rates[-1] == min(rates) >= 0
    # The file says it all.
    assert training.frozen_steps(configs.load_config(in_stages.folder / "config.yaml")) == 3


def sums(weights) -> np.ndarray:
    """Sums of weights in an order that depends on neither the layers' names nor what is frozen."""
    return np.sort([float(np.abs(value).sum()) for value in weights])


def test_a_staged_training_is_stored_as_it_was_trained(in_stages):
    stored = values_of(detectors.load_detector(in_stages.folder))
    np.testing.assert_allclose(sums(stored), sums(in_stages.seen[-1].values()), rtol=1e-6)


def test_a_staged_training_resumes_in_either_stage(in_stages, tiny_records, tmp_path):
    def stop(history, at):
        if history[-1]["step"] == at:
            raise KeyboardInterrupt

    for at in (1, 4, None):
        detector, _ = training.train(
            in_stages.config,
            tmp_path / "06_ssd",
            label_map=tiny_records / "label_map.pbtxt",
            on_report=lambda history, at=at: stop(history, at),
            report_every=1,
        )
    last = in_stages.seen[-1].values()
    np.testing.assert_allclose(sums(values_of(detector)), sums(last), rtol=1e-5)


@pytest.mark.parametrize(
    ("steps", "edits", "fault"),
    [
        (3, {"task.init_checkpoint": None}, "task.init_checkpoint: not set; a frozen backbone"),
        (0, {}, "staged: steps: 0 of 6; give"),
        (6, {}, "staged: steps: 6 of 6; give"),
        (3, {"trainer.optimizer_config.learning_rate.type": "constant"}, "type: 'constant'; set"),
    ],
)
def test_stages_that_cannot_be_are_refused(warm, steps, edits, fault):
    with pytest.raises(CourseError, match=fault):
        training.two_stage(configs.edit(warm, edits), steps)


def test_without_stages_the_config_alone_says_what_is_frozen(warm):
    assert training.frozen_steps(warm) == 0
    assert training.frozen_steps(configs.edit(warm, {"task.freeze_backbone": True})) == 6
    assert training.frozen_steps(training.two_stage(warm, 2)) == 2


def test_one_schedule_does_not_silently_replace_two(warm):
    with pytest.raises(CourseError, match="has two stages already"):
        configs.with_budget(training.two_stage(warm, 2), train_steps=20)
