import numpy as np
import pytest

from helpers.training import batches

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def task(tiny_config):
    from official.core import task_factory

    return task_factory.get_task(tiny_config().task)


def test_a_resume_finds_the_batches_that_come_next(task, tiny_config, monkeypatch):
    # 16 images in batches of 4: a round has 8 steps.
    monkeypatch.setattr(batches, "ROUND", 6)
    config = tiny_config()
    assert batches.steps_per_round(config) == 8

    def images(step, number):
        following = batches.batches_after(task, config, step)
        return [next(following)[0].numpy() for _ in range(number)]

    whole = images(0, 16)
    for step, number in ((5, 5), (9, 1)):
        np.testing.assert_array_equal(images(step, number), whole[step : step + number])
    # Another round, another order.
    assert not any((one == other).all() for one, other in zip(whole[:8], whole[8:], strict=True))
