"""Workers of a pool end with the process that made it."""

import signal
import subprocess
import sys
import time

import psutil

from helpers.common.files import ROOT

SCRIPT = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from helpers.common.processes import end_with_pool
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, end_with_pool) as pool:
        for worker in {job.result() for job in [pool.submit(os.getpid) for _ in range(20)]}:
            print(worker, flush=True)
        print("ready", flush=True)
        time.sleep(60)
"""


def test_workers_end_when_their_maker_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py"]
    environment = {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as maker:
        lines = list(iter(maker.stdout.readline, "ready\n"))
        maker.send_signal(signal.SIGKILL)
    workers = [int(line) for line in lines]
    assert workers
    end = time.monotonic() + 20
    while any(map(_lives, workers)):
        assert time.monotonic() < end, "a worker lives on"
        time.sleep(0.1)


def _lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
