"""Torch's threads beside other processes: as many as these leave cores, and all again afterwards."""

import os
import subprocess
import sys
import time

import pytest
import torch

from ensemble_ad.training import threads
from ensemble_ad.training.threads import Others, fitting_threads

pytestmark = pytest.mark.skipif(not threads._STAT.exists(), reason="needs Linux to see what cores do")


class Machine:
    """Four cores that this process may use, one that it may not, and a clock."""

    def __init__(self, stat):
        self.stat, self.at, self.own, self.ticks = stat, 100.0, 10.0, 5000
        self.write()

    def goes_on(self, seconds, *, others, own=0.0):
        """For so many seconds others, and this process, keep so many cores busy."""
        self.at += seconds
        self.own += own * seconds
        self.ticks += round((others + own) * seconds * 100)
        self.write()

    def write(self):
        cores = "".join(f"cpu{n} {self.ticks if n == 0 else 7} 0 0 {9**n} 5 0 0 0 0 0\n" for n in range(4))
        self.stat.write_text(f"cpu 1 2 3 4 5 6 7 8 0 0\n{cores}cpu4 {9**9} 0 0 0 0 0 0 0 0 0\nintr 5 5\n", "ascii")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    found = Machine(tmp_path / "stat")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_STAT", found.stat)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    monkeypatch.setattr(threads, "monotonic", lambda: found.at)
    monkeypatch.setattr(threads, "process_time", lambda: found.own)
    monkeypatch.setattr(threads, "OTHERS", Others())
    monkeypatch.setattr(threads, "_told", False)
    return found


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("others", "left"), [(0.0, 4), (0.2, 4), (0.5, 3), (1.0, 3), (1.2, 3), (1.5, 2), (2.9, 1), (3.5, 1), (4.0, 1)]
)
def test_others_leave_whole_cores_and_one_at_least(machine, others, left):
    machine.goes_on(2.0, others=others, own=4.0 - others)
    assert threads.OTHERS.cores() == pytest.approx(others, abs=0.02)
    assert threads.OTHERS.leave(4) == left
    assert threads.OTHERS.leave(2) == min(2, left)


def test_a_moment_tells_nothing_new(machine):
    machine.goes_on(1.0, others=3.0)
    assert threads.OTHERS.leave(4) == 1
    machine.goes_on(0.1, others=0.0)
    assert threads.OTHERS.leave(4) == 1
    machine.goes_on(0.9, others=0.0)
    assert threads.OTHERS.leave(4) == 4


@pytest.mark.parametrize("text", ["", "cpu0 1 2\n", "cpu0 a b c d e f g h\n", "\n\n"])
def test_where_nothing_tells_all_threads_stay(machine, text):
    machine.goes_on(1.0, others=4.0)
    machine.stat.write_text(text, "ascii")
    assert threads.OTHERS.leave(4) == 4


def test_threads_go_and_come_back_with_the_others(machine, four_threads):
    machine.goes_on(1.0, others=2.0)
    with fitting_threads(repeats=False) as fitted:
        assert torch.get_num_threads() == 4
        for others, left in ((None, 2), (4.0, 1), (0.0, 4), (4.0, 1)):
            if others is not None:
                machine.goes_on(1.0, others=others)
            fitted.fit()
            assert torch.get_num_threads() == left
    assert torch.get_num_threads() == 4


def test_others_that_come_amid_a_trial_are_told_at_its_end_and_once(machine, four_threads):
    for said in ("others keep 2.0 cores busy, which torch's threads wait for; by 2 of 4 threads", ""):
        with fitting_threads(repeats=False) as fitted:
            fitted.fit()
            assert fitted.note() == ""
            machine.goes_on(1.0, others=2.0)
            fitted.fit()
            machine.goes_on(1.0, others=0.0)
            fitted.fit()
            assert fitted.note() == said
            assert fitted.note() == ""


def test_what_repeats_keeps_its_threads_and_says_what_that_costs(machine, four_threads):
    machine.goes_on(1.0, others=1.5)
    with fitting_threads(repeats=True) as fitted:
        fitted.fit()
        assert fitted.note() == (
            "others keep 1.5 cores busy, which torch's threads wait for; OMP_NUM_THREADS=2 may be many times as fast"
        )
        assert torch.get_num_threads() == 4


def test_what_the_user_has_set_stays(machine, four_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    machine.goes_on(1.0, others=4.0)
    with fitting_threads(repeats=False) as fitted:
        fitted.fit()
        assert torch.get_num_threads() == 4
        assert fitted.note() == ""


def test_another_process_is_seen_on_this_machine():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            time.sleep(0.3)
            others = Others()
            time.sleep(0.6)
            assert others.cores() > 0.1
        finally:
            other.kill()
