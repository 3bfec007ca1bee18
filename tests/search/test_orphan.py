"""`ensad tune` as a process that is told to end, or is killed: what is kept is said, and no process is left behind."""

import os
import re
import signal
import subprocess
import sys
import time

import optuna
import psutil
import pytest

TUNE = "tune --family fcn --epochs 20 --max-width 128 --device cpu --size 16 --objective separation --no-prune --seed 3"


def _heeding():
    """Whoever runs these tests in the background of a shell, or by nohup, has some signals ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Command:
    """`ensad tune` as a user starts it, and all processes that come of it."""

    def __init__(self, folder, *arguments, before=()):
        self.log = folder / "log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "ensemble_ad", *TUNE.split(), *map(str, arguments)],
                cwd=folder, stdout=out, stderr=out, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
                preexec_fn=_heeding,
            )  # fmt: skip

    def wait_for(self, word, seconds=240):
        until = time.monotonic() + seconds
        while not re.search(word, self.log.read_text()):
            assert time.monotonic() < until, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def left(self):
        """Its processes that are still there; a session of its own tells them."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        return found

    def all_end(self, seconds=15):
        self.process.wait(120)
        until = time.monotonic() + seconds
        while found := self.left():
            assert time.monotonic() < until, (found, self.log.read_text())
            time.sleep(0.1)


@pytest.fixture
def start(data, tmp_path):
    started = []

    def call(*arguments, before=()):
        started.append(Command(tmp_path, *arguments, before=before))
        return started[-1]

    yield call
    for command in started:
        for process in command.left():
            process.kill()
        command.process.wait()


def trials_in(folder):
    url = f"sqlite:///{folder / 'studies' / 'studies.db'}"
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url).trials


def states_in(folder):
    return [trial.state.name for trial in trials_in(folder)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (signal.SIGHUP, (1,)),
        (signal.SIGTERM, (1,)),
        (signal.SIGTERM, (2,)),
        (signal.SIGTERM, (2, "--backend", "multiprocessing")),
    ],
)
def test_a_signal_to_end_is_ctrl_c(start, run_ensad, tmp_path, number, workers):
    command = start("--trials", 40, "--workers", *workers)
    command.wait_for(r"trial \d+ complete")
    os.kill(command.process.pid, number)
    command.all_end()
    assert command.process.returncode == 130, command.log.read_text()
    said = command.log.read_text().splitlines()[-1]
    assert re.search(r"Error: interrupted: \d+ finished trials of fcn-separation-\w+ are kept", said)
    assert "run the same command to go on" in said
    kept = states_in(tmp_path).count("COMPLETE")
    assert 1 <= kept < 40
    assert run_ensad(*TUNE.split(), "--trials", kept + 1, "-q").exit_code == 0
    assert states_in(tmp_path).count("COMPLETE") >= kept + 1


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_workers_end_when_the_process_that_started_them_is_killed(start, tmp_path, backend):
    command = start("--trials", 40, "--workers", 2, "--backend", backend)
    command.wait_for(r"trial \d+ complete")
    assert len(command.left()) >= 3
    command.process.kill()
    command.all_end()
    # Where a trial had not got its worker yet, the next run knows that nobody is at it.
    assert not [
        trial for trial in trials_in(tmp_path) if trial.state.name == "RUNNING" and "worker" in trial.user_attrs
    ]
    kept = states_in(tmp_path).count("COMPLETE")
    assert 1 <= kept < 40
    again = start("--trials", kept + 1, "--workers", 2, "--backend", backend)
    again.all_end(1)
    assert again.process.returncode == 0
    assert "RUNNING" not in states_in(tmp_path)


_DEAF = """
import hashlib, os, time
from pathlib import Path
from ensemble_ad.search.orphan import Parent, ended_with
with ended_with(Parent(name="here.0123456789ab", pid=os.getppid(), studies=Path())):
    print("at work", flush=True)
    try:
        {work}
    except KeyboardInterrupt:
        pass  # as where it is raised in a destructor
time.sleep(60)  # as joblib waits for another task
"""


@pytest.mark.parametrize(
    "work", ["time.sleep(60)", "hashlib.pbkdf2_hmac('sha256', b'', b'', 200_000_000)"], ids=["dropped", "computing"]
)
def test_a_worker_that_misses_its_interrupt_ends_all_the_same(tmp_path, work):
    command = [sys.executable, "-c", _DEAF.format(work=work)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as worker:
        try:
            assert worker.stdout.readline() == b"at work\n"
            worker.terminate()
            assert worker.wait(30) == 130
        finally:
            worker.kill()


@pytest.mark.slow
def test_a_signal_that_is_ignored_stays_ignored(start, tmp_path):
    command = start("--trials", 2, before=("nohup",))
    command.wait_for("0 of 2 trials finished")
    os.kill(command.process.pid, signal.SIGHUP)
    command.all_end(1)
    assert command.process.returncode == 0
    assert states_in(tmp_path) == ["COMPLETE"] * 2
