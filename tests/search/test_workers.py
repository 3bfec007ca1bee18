"""Commands at once: workers that join, leave and are killed, a study started twice, two blends, two submissions."""

import _thread
import json
import multiprocessing
import os
import signal
import time

import optuna
import psutil
import pytest

from ensemble_ad.blend.saved import list_blends
from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.errors import Interrupted
from ensemble_ad.members.store import list_members
from ensemble_ad.search import lease
from ensemble_ad.search.crew import Crew
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.study import FINISHED
from ensemble_ad.search.workers import tune_together

TUNE = "tune --family fcn --epochs 3 --max-width 128 --device cpu --size 16 --objective separation --no-prune --seed 3"
_COMMAND = """
import os, signal
# Whoever runs these tests in the background of a shell has Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(out, 1), os.dup2(out, 2)
os.chdir(folder)
import torch
torch.set_num_threads(1)
from ensemble_ad.cli import main
main(arguments)
"""


@pytest.fixture(scope="module")
def context():
    """Processes that have imported everything, so that they start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ensemble_ad.search.workers", "ensemble_ad.cli", "ensemble_ad.blend.of_members"])
    return context


class Started:
    """A command of `ensad` in a process of its own."""

    def __init__(self, context, folder, name, arguments):
        self.log = folder / f"{name}.log"
        names = {"log": str(self.log), "folder": str(folder), "arguments": [str(word) for word in arguments]}
        self.process = context.Process(target=exec, args=(_COMMAND, names), daemon=False)
        self.process.start()

    def ended(self, seconds=180):
        self.process.join(seconds)
        assert self.process.exitcode is not None, self.said()
        return self.process.exitcode

    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def wait_for(self, word, seconds=120):
        until = time.monotonic() + seconds
        while word not in self.said():
            assert time.monotonic() < until, self.said()
            assert self.process.is_alive(), self.said()
            time.sleep(0.05)

    def stop(self, number):
        os.kill(self.process.pid, number)


@pytest.fixture
def start(context, tmp_path):
    started = []

    def call(name, command, *more):
        started.append(Started(context, tmp_path, name, [*command.split(), *more]))
        return started[-1]

    yield call
    for each in started:
        if each.process.is_alive():
            each.process.kill()
            each.process.join()


def trials_in(folder):
    url = f"sqlite:///{folder / 'studies' / 'studies.db'}"
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url).trials


def done_once(trials, wanted):
    finished = [trial for trial in trials if trial.state in FINISHED]
    assert sorted(trial.user_attrs["place"] for trial in finished) == list(range(wanted))
    assert len({trial.user_attrs["key"] for trial in finished}) == wanted
    return finished


@pytest.mark.slow
def test_a_study_that_is_started_twice_is_shared_and_workers_come_and_go(start, data, tmp_path):
    first = start("first", TUNE, "--trials", 24)
    first.wait_for("trial 0 complete")
    second = start("second", TUNE, "--trials", 24)  # joins
    second.wait_for(" complete: value ")
    first.stop(signal.SIGINT)  # leaves
    second.stop(signal.SIGKILL)  # is lost
    assert (first.ended(), second.ended()) == (130, -9)
    assert "finished trials of fcn-separation-" in first.said()
    assert "are kept, and the running one will be gone on with; run the same command to go on" in first.said()
    kept = {trial.number for trial in trials_in(tmp_path) if trial.state in FINISHED}
    assert 2 <= len(kept) < 24
    third, fourth = (start(name, TUNE, "--trials", 24) for name in ("third", "fourth"))  # join
    assert (third.ended(), fourth.ended()) == (0, 0)
    finished = done_once(trials_in(tmp_path), 24)
    assert kept <= {trial.number for trial in finished}
    assert len({trial.user_attrs["worker"] for trial in finished}) >= 3
    members, problems = list_members(tmp_path / "studies")
    assert (len(members), problems) == (24, [])
    for member in members:
        member.vectors()
        member.weights_path()
    assert list((tmp_path / "studies" / "checkpoints").glob("*")) == []
    # What a worker leaves that is killed between two trials tells that it is dead.
    left = [path.stem for path in (tmp_path / "studies" / "workers").iterdir()]
    assert all(lease.is_over(tmp_path / "studies", worker) for worker in left)


class Meddler:
    """A watcher that kills a worker at the first trial that is told, and presses Ctrl-C at the fourth."""

    def __init__(self, studies):
        self.studies, self.told = studies, 0

    def study(self, *what):
        pass

    epoch = study

    def trial(self, *what):
        self.told += 1
        if self.told == 1:
            leases = {str(path) for path in (self.studies / "workers").iterdir()}
            workers = [
                child
                for child in psutil.Process().children(recursive=True)
                if any(file.path in leases for file in child.open_files())
            ]
            workers[0].kill()
        elif self.told == 4:
            _thread.interrupt_main()


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_a_killed_process_of_a_crew_is_replaced_and_ctrl_c_stops_all(digits_folder, tmp_path):
    dataset = load_dataset(digits_folder, image_cache=tmp_path / "images")
    settings = TuneSettings(
        family="fcn", trials=24, epochs=2, max_width=128, size=16, device="cpu", objective="separation", prune=False
    )
    studies = tmp_path / "studies"

    def together(watcher):
        tune_together(dataset, settings, Crew(workers=2), data=digits_folder, studies=studies, watcher=watcher)

    with pytest.raises(Interrupted, match="are kept, and the running ones will be gone on with"):
        together(Meddler(studies))
    before = [trial for trial in trials_in(tmp_path) if trial.state in FINISHED]
    assert 4 <= len(before) < 24
    watcher = Meddler(studies)
    watcher.told = 10
    together(watcher)
    trials = trials_in(tmp_path)
    finished = done_once(trials, 24)
    assert len({trial.user_attrs["worker"] for trial in finished}) >= 3
    assert not [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
    assert {trial.number for trial in before} <= {trial.number for trial in finished}
    assert len(list_members(studies)[0]) == 24


def test_two_blends_at_once_do_not_clobber_each_other(start, studies, tmp_path):
    same = [start(f"same{i}", "blend --members fcn,resnet --method mean --name one") for i in range(3)]
    other = [
        start(f"other{i}", f"blend --members {members} --method mean --name two")
        for i, members in enumerate(("fcn", "resnet"))
    ]
    assert [each.ended() for each in same] == [0, 0, 0]
    codes = [each.ended() for each in other]
    assert sorted(codes) == [0, 2], [each.said() for each in other]
    loser = other[codes.index(2)]
    assert "the name 'two' is taken by another blend" in loser.said()
    blends, problems = list_blends(studies)
    assert ({blend.name for blend in blends}, problems) == ({"both", "one", "two"}, [])
    for blend in blends:
        assert len(blend.scores()) == 120
        json.loads((blend.folder / "blend.json").read_text())
    (winner,) = [blend for blend in blends if blend.name == "two"]
    assert winner.info.terms == (("fcn", "resnet")[codes.index(0)],)
    assert [path for path in (studies / "blends").iterdir() if path.name.startswith(".")] == []


def test_submissions_at_once_get_a_file_each(start, studies, tmp_path):
    crew = [start(f"submit{i}", "submit --blend both -q") for i in range(4)]
    assert [each.ended() for each in crew] == [0] * 4
    written = sorted((tmp_path / "submissions").glob("*.csv"))
    assert len(written) == len({each.said() for each in crew}) == 4
    assert len({path.read_bytes() for path in written}) == 1
    assert all(path.suffix == ".csv" for path in written)
