"""The planted faults are faults, and nothing else is."""

import pytest

from helpers.annotations.label_map import read_label_map
from helpers.common.errors import CourseError
from helpers.records import tfrecord, verify
from helpers.records.examples import boxes_of
from helpers.training import planted

pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def crops(tiny_records):
    return planted.object_crops(tiny_records, 10)


def test_crops_show_their_object(crops, tiny_records):
    assert len(crops) == 10
    label_map = read_label_map(tiny_records / "label_map.pbtxt")
    for number, crop in enumerate(crops, 1):
        assert tfrecord.feature_text(crop, "image/source_id") == str(number)
        assert tfrecord.feature_values(crop, "image/width") == [planted.CROP_SIDE]
        verify.check_example(crop, "crop", label_map)
        (box,) = boxes_of(crop)
        assert 20 < box.xmax - box.xmin < planted.CROP_SIDE


def test_there_are_never_more_crops_than_objects(tiny_records):
    assert len(planted.object_crops(tiny_records, 1000)) == 16


def test_records_without_objects(tmp_path, tiny_records):
    (tmp_path / "label_map.pbtxt").write_bytes((tiny_records / "label_map.pbtxt").read_bytes())
    with pytest.raises(CourseError, match="no object in the training records"):
        planted.object_crops(tmp_path, 3)


@pytest.mark.parametrize("fault", planted.PLANTED_FAULTS)
def test_each_fault_is_one_that_verify_knows(crops, tiny_records, fault):
    label_map = read_label_map(tiny_records / "label_map.pbtxt")
    before = tfrecord.serialized(crops[0])
    (spoilt,) = planted.plant_fault(crops[:1], fault)
    assert tfrecord.serialized(crops[0]) == before
    if planted.PLANTED_FAULTS[fault] is None:
        verify.check_example(spoilt, "crop", label_map)
        return
    with pytest.raises(CourseError):
        verify.check_example(spoilt, "crop", label_map)


def test_trainings_run_on_all_faults_and_differ(crops, tmp_path):
    results = planted.train_on_faults(crops, tmp_path, steps=3)
    assert list(results) == list(planted.PLANTED_FAULTS)
    losses = {fault: result["loss"] for fault, result in results.items()}
    right = losses["as it should be"]
    assert len(right) == 3
    # From the same weights on the same images: only what the loss is made of differs.
    same = pytest.approx(right, rel=1e-3)  # several threads add in any order
    assert losses["source_id is a file name"] == same
    same = pytest.approx(losses["pixels instead of parts"], rel=1e-3)
    assert losses["xmin and xmax swapped"] == same
    assert losses["xmin and xmax swapped"][0] < right[0]
    assert results["as it should be"]["objects"] == 10
    scoring = {fault: result["scoring"] for fault, result in results.items()}
    assert scoring.pop("source_id is a file name").startswith("StringToNumberOp")
    assert set(scoring.values()) == {"runs"}


@pytest.mark.parametrize("count", [1, 7])
def test_fewer_crops_than_a_batch_train_and_are_scored(crops, tmp_path, count, monkeypatch):
    """Of two or nine photos there are as many: a batch of 8 is never full."""
    some = {"as it should be": None, "labels count from 0": planted._from_zero}
    monkeypatch.setattr(planted, "PLANTED_FAULTS", some)
    results = planted.train_on_faults(crops[:count], tmp_path, steps=2)
    for result in results.values():
        assert len(result["loss"]) == 2
        assert result["objects"] == count
        assert result["scoring"] == "runs"
