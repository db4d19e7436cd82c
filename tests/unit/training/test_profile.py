import pytest

from helpers import models
from helpers.common.errors import CourseError
from helpers.training import profile

pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def step(tiny_config):
    return profile.profile_step(tiny_config())


def test_a_step_is_all_its_parts_and_all_its_phases(step):
    assert list(step.parts) == list(profile.PARTS)
    assert sum(step.parts.values()) == pytest.approx(step.seconds)
    assert list(step.phases) == ["forward", "backward", "optimizer"]
    assert sum(step.phases.values()) == pytest.approx(step.seconds)
    assert min(step.parts.values()) >= 0
    assert step.phases["forward"] > 0
    assert step.phases["backward"] > 0
    assert step.batch == 4
    assert step.with_input > 0
    assert step.input_rate > 0
    assert set(step.start) == {
        "building the network",
        "the first images",
        "tracing",
        "the first step",
    }


def test_parts_of_a_small_faster_rcnn(tiny_config):
    step = profile.profile_step(tiny_config("faster_rcnn"), steps=1)
    assert sum(step.parts.values()) == pytest.approx(step.seconds)
    assert step.parts["backbone"] > 0


@pytest.mark.parametrize(
    ("forward", "optimizer", "expected"),
    [
        ([3, 5, 6], 1, [3, 2, 1, 3, 1]),
        ([7, 5, 6], 1, [5, 0, 1, 3, 1]),  # the machine was busy during the first
        ([3, 5, 12], 20, [0, 0, 0, 0, 10]),
    ],
)
def test_no_part_takes_less_than_no_time(monkeypatch, forward, optimizer, expected):
    times = iter([*forward, optimizer])
    monkeypatch.setattr(profile, "_times", lambda function, count: [next(times), 99])
    shares = profile._shares([lambda: None] * 3, None, None, 10, 1)
    assert [10 * share for share in shares.values()] == pytest.approx(expected)


def test_a_batch_larger_than_the_records_is_an_error(tiny_config):
    config = models.edit(tiny_config(), {"task.train_data.global_batch_size": 17})
    with pytest.raises(CourseError, match="16 training images are less than one batch of 17"):
        profile.profile_step(config)
