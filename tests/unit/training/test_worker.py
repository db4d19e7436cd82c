"""The command line of a worker: signals, exit codes, and bad input in one line."""

import os
import signal
import sys

import pytest

from helpers import models
from helpers.training import loop, worker
from helpers.training.cluster import tf_config

pytest.importorskip("tensorflow")


def test_a_signal_stops_a_worker_at_its_next_report(tiny_config, tmp_path, monkeypatch, capsys):
    models.save_config(tiny_config(steps=24), tmp_path / "config.yaml")
    reports = []

    def train(config, folder, *, on_report, **options):
        row = {"step": 1, "total_loss": 2.0, "images_per_second": 3.0}
        try:
            for _ in range(3):
                reports.append(on_report([row]))
                os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            return

    monkeypatch.setattr(loop, "train", train)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = worker.worker(tmp_path / "config.yaml", tmp_path / "a", label_map=tmp_path)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert code == worker.STOPPED
    assert len(reports) == 1
    assert "step 1 of 24: loss 2.000, 3.0 images/s" in capsys.readouterr().out


def test_a_worker_says_bad_input_in_one_line(tiny_config, tmp_path, monkeypatch, capsys):
    edits = {
        "runtime.distribution_strategy": "multi_worker_mirrored",
        "task.train_data.global_batch_size": 3,
    }
    models.save_config(models.edit(tiny_config(), edits), tmp_path / "c.yaml")
    monkeypatch.setenv("TF_CONFIG", tf_config(["10.0.0.0:2222", "10.0.0.1:2222"], 0))
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    arguments = ["worker", str(tmp_path / "c.yaml"), str(tmp_path / "a"), "--label-map", "l"]
    assert worker.main(arguments) == worker.BAD_INPUT
    said = capsys.readouterr().err.strip()
    assert said.startswith("CourseError: config: task.train_data.global_batch_size: 3 images")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("hosts", "environment", "fault"),
    [("a:1,b", "", "'b' is not host:port"), ("a:1,b:1", "{}", "TF_CONFIG names a cluster already")],
)
def test_hosts_that_do_not_fit_are_said(tmp_path, monkeypatch, capsys, hosts, environment, fault):
    monkeypatch.setenv("TF_CONFIG", environment)
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    arguments = ["worker", "c.yaml", str(tmp_path), "--label-map", "l", "--hosts", hosts]
    assert worker.main([*arguments, "--index", "0"]) == worker.BAD_INPUT
    assert fault in capsys.readouterr().err
