import math

import pytest

from helpers.common.errors import CourseError
from helpers.models import config as configs
from helpers.plots import figures as plots
from helpers.plots.performance import show_roofline, show_time
from helpers.training import profile

tf = pytest.importorskip("tensorflow")


def graph_of(function, *shapes):
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    return tf.function(function).get_concrete_function(*specs).graph


def counted(graph, word: str) -> list[float]:
    return [profile.flops(op) for op in graph.get_operations() if word in op.type]


def gradients(function):
    """The gradients of the sum of what `function` returns."""

    def run(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.reduce_sum(function(*inputs) ** 2)
        return tape.gradient(total, inputs)

    return run


def test_calculations_of_a_convolution_and_its_gradients():
    graph = graph_of(
        gradients(lambda x, k: tf.nn.conv2d(x, k, strides=2, padding="SAME")),
        [2, 16, 24, 3],
        [5, 5, 3, 8],
    )
    one = 2 * (2 * 8 * 12 * 8) * (5 * 5 * 3)  # for each number of the output 75 products
    assert counted(graph, "Conv2D") == [one] * 3


def test_calculations_of_a_depthwise_convolution_and_its_gradients():
    graph = graph_of(
        gradients(lambda x, k: tf.nn.depthwise_conv2d(x, k, [1, 1, 1, 1], "SAME")),
        [2, 16, 24, 6],
        [3, 3, 6, 1],
    )
    # Each channel for itself: the products are 9, not 9 * 6.
    assert counted(graph, "Depthwise") == [2 * (2 * 16 * 24 * 6) * 9] * 3


def test_calculations_of_a_matrix_product_whichever_way_it_lies():
    graph = graph_of(
        lambda a, b: (tf.linalg.matmul(a, b, transpose_a=True), tf.linalg.matmul(b, b)),
        [5, 4],
        [5, 5],
    )
    assert sorted(counted(graph, "MatMul")) == [2 * 4 * 5 * 5, 2 * 5 * 5 * 5]


def test_the_profiler_of_tensorflow_counts_the_same_convolutions():
    def layers(x, dense, thin):
        return tf.nn.depthwise_conv2d(tf.nn.conv2d(x, dense, 1, "SAME"), thin, [1] * 4, "SAME")

    graph = graph_of(layers, [1, 32, 32, 3], [3, 3, 3, 16], [3, 3, 16, 1])
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    found = tf.compat.v1.profiler.profile(graph=graph, options=options | {"output": "none"})
    assert sum(counted(graph, "onv2")) == found.total_float_ops


def test_bytes_are_those_of_inputs_and_outputs():
    graph = graph_of(lambda a, b: a + b, [10, 20], [20])
    (add,) = (op for op in graph.get_operations() if op.type == "AddV2")
    assert profile.moved(add) == 4 * (200 + 20 + 200)


def test_what_has_no_known_shape_counts_nothing():
    graph = graph_of(lambda a: tf.nn.relu(a), [None, 20])
    assert counted(graph, "Relu") == [0]


def test_roofs_count_calculations_and_both_directions(monkeypatch):
    monkeypatch.setattr(profile, "_best", lambda function, seconds: 0.01)
    machine = profile.measure_machine()
    assert machine.float32 == machine.bfloat16 == pytest.approx(2 * 2048**3 / 0.01 / 1e9)
    assert machine.bandwidth == pytest.approx(2 * 2**28 / 0.01 / 1e9)


@pytest.fixture(scope="module")
def step(tiny_config):
    return profile.profile_step(tiny_config(), steps=2)


def test_a_step_is_all_its_kinds_and_all_its_phases(step):
    assert sum(work.seconds for work in step.kinds.values()) == pytest.approx(step.seconds)
    assert sum(step.phases.values()) == pytest.approx(step.seconds)
    seconds = [work.seconds for work in step.kinds.values()]
    assert seconds == sorted(seconds, reverse=True)
    assert min(step.phases.values()) > 0
    assert set(step.start) == {
        "building the network",
        "the first images",
        "tracing",
        "the first step",
    }


def test_kinds_of_a_small_ssd(step, tiny_config):
    expected = {"convolution", "1x1 convolution", "depthwise convolution", "batch normalisation"}
    assert expected | {"loss", "optimizer", "other layers"} <= set(step.kinds)
    dense, thin = step.kinds["convolution"], step.kinds["depthwise convolution"]
    assert dense.intensity > 3 * thin.intensity
    # The optimizer runs after all gradients, and the loss before and between them.
    assert step.kinds["optimizer"].seconds == step.phases["optimizer"]
    assert step.kinds["loss"].phases["backward"] > 0
    assert step.kinds["loss"].phases["forward"] > 0
    # Compiled: several calculations with each number that goes in or comes out.
    assert step.kinds["loss"].flops > step.kinds["loss"].bytes / 4


def test_kinds_of_a_small_faster_rcnn(tiny_config):
    step = profile.profile_step(tiny_config("faster_rcnn"), steps=1)
    assert {"matrix product", "convolution", "loss"} <= set(step.kinds)
    assert step.kinds["matrix product"].flops > 0
    assert sum(step.phases.values()) == pytest.approx(step.seconds)


def test_twice_the_images_are_twice_the_calculations_in_layers(step, tiny_config):
    config = configs.edit(tiny_config(), {"task.train_data.global_batch_size": 2})
    half = profile.profile_step(config, steps=1)
    for kind in ("convolution", "depthwise convolution"):
        assert step.kinds[kind].flops == pytest.approx(2 * half.kinds[kind].flops)
    assert (step.batch, half.batch) == (4, 2)


def test_a_batch_larger_than_the_records_is_an_error(tiny_config):
    config = configs.edit(tiny_config(), {"task.train_data.global_batch_size": 17})
    with pytest.raises(CourseError, match="16 training images are less than one batch of 17"):
        profile.profile_step(config)


def made_up(times: dict[str, float]) -> profile.Step:
    kinds = {
        kind: profile.Work(
            flops=1e9 / (i + 1) ** 3,
            bytes=1e8,
            phases={"forward": 0.3 * s, "backward": 0.7 * s, "optimizer": 0.0},
        )
        for i, (kind, s) in enumerate(times.items())
    }
    seconds = sum(times.values())
    return profile.Step(8, seconds, seconds, 100.0, {}, kinds)


@pytest.fixture
def shown(monkeypatch):
    """Return the list of figures that are shown."""
    figures = []
    monkeypatch.setattr(plots, "show", lambda figure, caption: figures.append(figure))
    return figures


def test_the_roofline_names_every_kind_once_and_no_two_texts_overlap(shown):
    # All at nearly one place: only moving the texts keeps them apart.
    step = made_up(dict.fromkeys(profile.KINDS[:6], 0.01))
    for work in step.kinds.values():
        work.flops = 1e9
    show_roofline(step, profile.Machine(100, 200, 20), caption="?")
    (figure,) = shown
    figure.canvas.draw()
    (ax,) = figure.axes
    texts = {text.get_text(): text.get_window_extent() for text in ax.texts}
    for kind in step.kinds:
        assert f"{kind}, 17% of the time" in texts
    assert "processor, 16-bit numbers: 200 GFLOP/s" in texts
    assert "memory: 20 GB/s" in texts
    assert any(text.startswith("the whole step: 100 GFLOP/s") for text in texts)
    labels = [box for text, box in texts.items() if "time" in text or "whole" in text]
    pairs = [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    assert not any(a.overlaps(b) for a, b in pairs)


def test_a_processor_without_16_bit_instructions_has_one_roof(shown):
    step = made_up({"convolution": 0.2, "loss": 0.1})
    show_roofline(step, profile.Machine(100, 3, 20), caption="?")
    texts = [text.get_text() for text in shown[0].axes[0].texts]
    assert not any("16-bit" in text for text in texts)


def test_the_bars_add_up_to_the_step(shown):
    step = made_up({"convolution": 0.2, "loss": 0.1})
    show_time(step, caption="?")
    (ax,) = shown[0].axes
    assert math.fsum(bar.get_width() for bar in ax.patches) == pytest.approx(300)
    assert [text.get_text().strip() for text in ax.texts] == ["67%", "33%"]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["forward (30%)", "backward (70%)", "optimizer (0%)"]
