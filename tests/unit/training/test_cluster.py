"""Where a training runs: clusters that fit the config, and those that do not."""

import json

import pytest

from helpers import models
from helpers.common.errors import CourseError
from helpers.training import cluster
from helpers.training.loop import train

pytest.importorskip("tensorflow")

SEVERAL = {"runtime.distribution_strategy": "multi_worker_mirrored"}


def cluster_of(workers=2, kind="worker", index=0, **more):
    hosts = [f"10.0.0.{i}:2222" for i in range(workers)]
    return json.dumps(
        {"cluster": {"worker": hosts, **more}, "task": {"type": kind, "index": index}}
    )


@pytest.mark.parametrize(
    ("environment", "edits", "fault"),
    [
        ("", {"runtime.distribution_strategy": "tpu"}, "'tpu'; give one of one_device, mirrored"),
        ("", {"runtime.num_gpus": 99}, "num_gpus: 99, but TensorFlow sees"),
        (cluster_of(), {}, "'mirrored' trains on one machine, but the cluster has 2 workers"),
        (cluster_of(3), SEVERAL, "4 images cannot be shared equally by 3 replicas; .* such as 3"),
        (
            cluster_of(),
            SEVERAL | {"task.train_data.global_batch_size": 5},
            "multiple of 2, such as 4",
        ),
        (
            cluster_of(32),
            SEVERAL | {"task.train_data.global_batch_size": 32},
            "16 training images are too few for 32 replicas",
        ),
        (cluster_of(index=2), SEVERAL, "task .* is not one of the cluster's 2 workers"),
        (cluster_of(kind="evaluator"), SEVERAL, "is not one of the cluster's 2 workers"),
        ("{", SEVERAL, "TF_CONFIG: '{' is not a cluster"),
        ("[1]", SEVERAL, r"TF_CONFIG: '\[1\]' is not a cluster"),
        (
            "",
            SEVERAL | {"runtime.worker_hosts": "a:1,b:1"},
            "task_index: -1, but runtime.worker_hosts names 2",
        ),
    ],
)
def test_a_cluster_that_does_not_fit_is_said(tiny_config, monkeypatch, environment, edits, fault):
    monkeypatch.setenv("TF_CONFIG", environment)
    with pytest.raises(CourseError, match=fault) as caught:
        cluster.strategy(models.edit(tiny_config(), edits))
    assert "\n" not in str(caught.value)


def test_the_chief_counts_as_a_worker(tiny_config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", cluster_of(2, "chief", 0, chief=["10.0.0.9:2222"]))
    with pytest.raises(CourseError, match="shared equally by 3 replicas"):
        cluster.strategy(models.edit(tiny_config(), SEVERAL))


def test_several_workers_refuse_to_evaluate_in_the_loop(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "count", lambda strategy: 2)
    with pytest.raises(CourseError, match=r"run `python -m helpers.scale evaluate` next to"):
        train(tiny_config(), tmp_path, label_map=tmp_path, evaluate=lambda detector: {})
