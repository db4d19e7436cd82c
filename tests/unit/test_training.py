import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers import config as configs
from helpers import detector as detectors
from helpers import training
from helpers.annotations import write_label_map
from helpers.artifacts import read_manifest
from helpers.errors import CourseError

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
    assert manifest["counts"] == {"steps": trained.STEPS, "images": 4 * trained.STEPS}
    for name in (detectors.WEIGHTS, detectors.CONFIG, detectors.LABEL_MAP):
        assert (trained.folder / name).stat().st_size > 0
    assert configs.difference(configs.load(trained.folder / "config.yaml"), trained.config) == []


def test_tensorboard_finds_the_curves(trained):
    curve = {}
    for path in sorted((trained.folder / training.EVENTS).iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag == "total_loss":
                    curve[event.step] = float(tf.make_ndarray(value.tensor))
    assert curve == pytest.approx({row["step"]: row["total_loss"] for row in trained.history})


def test_a_finished_training_is_not_done_again(trained, capsys):
    manifest, seen = read_manifest(trained.folder), []
    _, history = training.train(
        trained.config, trained.folder, label_map=trained.label_map, on_report=seen.append
    )
    assert seen == [history]
    assert [row["step"] for row in history] == [row["step"] for row in trained.history]
    assert read_manifest(trained.folder)["fingerprint"] == manifest["fingerprint"]
    assert f"trained already, {trained.STEPS} steps" in capsys.readouterr().out


def test_a_training_stopped_in_its_last_evaluation_makes_up_for_it(trained, tmp_path):
    folder = tmp_path / "06_ssd"
    shutil.copytree(trained.folder, folder)
    # What such a stop leaves: all steps, no score for the last, no detector.
    for name in (detectors.WEIGHTS, "manifest.json"):
        (folder / name).unlink()
    rows = (folder / training.HISTORY).read_text().splitlines()
    (folder / training.HISTORY).write_text(
        "\n".join([*rows[:-1], ",".join([*rows[-1].split(",")[:-2], "", ""])])
    )
    assert "AP50" not in training.read_history(folder)[-1]
    _, history = training.train(
        trained.config, folder, label_map=trained.label_map, evaluate=lambda _: {"AP50": 0.25}
    )
    assert history[-1]["AP50"] == training.read_history(folder)[-1]["AP50"] == 0.25
    assert (folder / detectors.WEIGHTS).is_file()


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
    assert not (folder / detectors.WEIGHTS).exists()


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
    assert not (folder / detectors.WEIGHTS).exists()
    assert configs.difference(configs.load(folder / "training.yaml"), config) == []


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
    _, model = detectors.build_model(tiny_config(request.param))
    model.set_weights([np.full_like(weight, 0.25) for weight in model.get_weights()])
    items = {"model": model} if request.param == "faster_rcnn" else {}
    checkpoint = tf.train.Checkpoint(**items, **model.checkpoint_items)
    path = checkpoint.write(str(tmp_path_factory.mktemp(request.param) / "start"))

    def make(modules, path=path):
        # The least rate that a schedule can have: one step leaves the weights as they are.
        edits = {"task.init_checkpoint": path, "task.init_checkpoint_modules": modules}
        return tiny_config(request.param, steps=1, rate=1e-9, edits=edits)

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
    task, model = detectors.build_model(start[0](modules))
    before = {name: weights_of(model, name) for name in model.checkpoint_items}
    rows = training.load_start(task, model)
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
    task, model = detectors.build_model(start[0](modules))
    with pytest.raises(CourseError, match=r"init_checkpoint_modules: .*nothing of .* was loaded"):
        training.load_start(task, model)


def test_a_start_that_is_not_there_or_does_not_fit_is_an_error(start, tmp_path):
    make, path = start
    for wrong in (f"{path}.index", str(tmp_path), str(tmp_path / "ckpt-0")):
        task, model = detectors.build_model(make("all", wrong))
        with pytest.raises(CourseError, match=r"init_checkpoint: .*: no checkpoint there; give"):
            training.load_start(task, model)
    wider = configs.edit(make("all"), {"task.model.num_classes": 7})
    task, model = detectors.build_model(wider)
    with pytest.raises(CourseError, match=r"init_checkpoint: .*: does not fit this model's all"):
        training.load_start(task, model)
    broken = tmp_path / "broken"
    for end in (".index", ".data-00000-of-00001"):
        broken.with_name(f"broken{end}").write_bytes(b"no checkpoint")
    task, model = detectors.build_model(make("all", str(broken)))
    with pytest.raises(CourseError, match=r"init_checkpoint: .*broken: does not fit"):
        training.load_start(task, model)


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
    (folder / detectors.WEIGHTS).unlink()
    for file in Path(path).parent.glob("start*"):
        file.rename(file.with_name(f"gone{file.name}"))
    try:
        training.train(make(["backbone"]), folder, **options)
    finally:
        for file in Path(path).parent.glob("gonestart*"):
            file.rename(file.with_name(file.name.removeprefix("gone")))
    assert table not in capsys.readouterr().out
    assert (folder / detectors.WEIGHTS).is_file()
