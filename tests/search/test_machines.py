"""Several machines: a PostgreSQL server, a Dask cluster and an S3 server, all real, on loopback."""

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack

import optuna
import pytest
import sqlalchemy
from distributed import Client

from ensemble_ad.members.store import list_members
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.study import FINISHED
from ensemble_ad.search.tune import tune

SECRET = "hunter2-not-to-be-seen"
SMALL = ("--family", "fcn", "--epochs", 1, "--max-width", 128, "--device", "cpu", "--size", 16)


@pytest.fixture
def dask(tmp_path):
    """A scheduler and two worker processes, as a user starts them; gives the address and the folder of the logs."""
    with ExitStack() as stack:

        def start(name, *arguments):
            log = stack.enter_context((tmp_path / f"{name}.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]],
                stdout=log, stderr=log, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.terminate)

        start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        address = None
        for _ in range(300):
            found = re.search(r"Scheduler at:\s+(tcp://\S+)", (tmp_path / "scheduler.log").read_text())
            if found:
                address = found[1]
                break
            time.sleep(0.1)
        assert address is not None
        for number in range(2):
            start(f"worker{number}", "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny")
        with Client(address) as client:
            client.wait_for_workers(2, timeout=120)
        yield address


def trials_at(url):
    studies = [optuna.load_study(study_name=name, storage=url) for name in optuna.get_all_study_names(url)]
    return [trial for study in studies for trial in study.trials]


def test_a_database_server_holds_a_study_that_two_folders_share(postgres, run_ensad, data, tmp_path):
    url, store = postgres(), f"file://{tmp_path / 'store'}"
    first = run_ensad("tune", *SMALL, "--trials", 2, "--storage", url, "--artifacts", store, "--studies", "one")
    assert first.exit_code == 0, first.output
    second = run_ensad("tune", *SMALL, "--trials", 3, "--storage", url, "--artifacts", store, "--studies", "two")
    assert second.exit_code == 0, second.output
    trials = trials_at(url)
    assert [t.state for t in trials] == [optuna.trial.TrialState.COMPLETE] * 3
    assert len({t.user_attrs["key"] for t in trials}) == 3
    pulled = run_ensad("pull", "--storage", url, "--artifacts", store, "--studies", "two")
    assert pulled.exit_code == 0, pulled.output
    assert not (tmp_path / "two" / "studies.db").exists()
    members, problems = list_members(tmp_path / "two")
    assert ({m.key for m in members}, problems) == ({t.user_attrs["key"] for t in trials}, [])
    for member in members:
        member.vectors()
        member.weights_path()
    blended = run_ensad("blend", "--members", "fcn", "--studies", "two")
    assert blended.exit_code == 0, blended.output
    again = run_ensad("pull", "--storage", url, "--artifacts", store, "--studies", "two")
    assert again.stdout == ""
    written = [path.read_bytes() for folder in ("one", "two") for path in (tmp_path / folder).rglob("*.json")]
    shown = [first.output, second.output, pulled.output, blended.output]
    assert all(SECRET not in text for text in shown)
    assert written
    assert all(SECRET.encode() not in content for content in written)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://someone:{SECRET}@127.0.0.1:1/nothing",
        f"postgresql://someone:{SECRET}@127.0.0.1:port/nothing",
        f"mysql://someone:{SECRET}@127.0.0.1/nothing",
        f"redis://someone:{SECRET}@127.0.0.1/nothing",
        f"://{SECRET}",
        f"postgresql:someone:{SECRET}@127.0.0.1/nothing",
        f"someone:{SECRET}@127.0.0.1/nothing",
        f"mysql://127.0.0.1/nothing?passwd={SECRET}",
    ],
)
@pytest.mark.parametrize("has_store", [True, False])
def test_no_error_repeats_a_storage_url(run_ensad, data, tmp_path, url, has_store):
    store = tmp_path / "store"
    if has_store:
        store.mkdir()
    for command in (("tune", *SMALL, "-vv"), ("pull", "--artifacts", store.as_uri())):
        result = run_ensad(*command, "--storage", url)
        assert result.exit_code == 4
        assert SECRET not in result.output
        assert "--storage" in result.stderr


def test_a_server_lost_in_the_middle_is_one_line_without_its_password(postgres, run_ensad, data, tmp_path, monkeypatch):
    url = postgres()
    name = sqlalchemy.make_url(url).database
    admin = sqlalchemy.create_engine(
        sqlalchemy.make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
    )

    def lose(*args, **kwargs):
        with admin.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
        raise RuntimeError("and then the trial failed")

    with monkeypatch.context() as patch:
        patch.setattr("ensemble_ad.search.worker.fit_member", lose)
        result = run_ensad("tune", *SMALL, "--trials", 2, "--storage", url, "-q")
    assert result.exit_code == 4, result.output
    assert result.stderr.count("\n") == 1
    assert SECRET not in result.output
    assert "run the same command again" in result.stderr
    with admin.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
    assert run_ensad("tune", *SMALL, "--trials", 2, "--storage", url).exit_code == 0
    assert [t.state.name for t in trials_at(url)] == ["FAIL", "COMPLETE", "COMPLETE"]
    failed = run_ensad("compare", "--failed", "--storage", url)
    assert (failed.exit_code, failed.stdout.count("\n")) == (0, 1)


def test_a_dead_worker_elsewhere_is_told_by_its_heartbeat(postgres, dataset, tmp_path, monkeypatch, log):
    url = postgres()
    settings = TuneSettings(family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu", storage=url)

    class Killed(BaseException):
        """Ends a worker as a kill does."""

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("ensemble_ad.search.worker.fit_member", die)
        patch.setattr("ensemble_ad.search.lease._host", lambda: "elsewhere")
        with pytest.raises(Killed):
            tune(dataset, settings, studies=tmp_path / "elsewhere", watcher=log)
    monkeypatch.setattr("ensemble_ad.search.storage.GRACE_SECONDS", 2)
    started = time.monotonic()
    result = tune(dataset, settings, studies=tmp_path / "here", watcher=log)
    assert time.monotonic() - started > 1
    assert result.finished == 1
    dead, again = trials_at(url)
    assert (dead.state.name, again.state.name) == ("FAIL", "COMPLETE")
    assert again.params == dead.params


@pytest.mark.slow
def test_a_dask_cluster_of_two_works_on_a_study(dask, postgres, run_ensad, data, tmp_path):
    url = postgres()
    arguments = ("--trials", 6, "--backend", "dask", "--scheduler", dask, "--storage", url)
    result = run_ensad("tune", *SMALL, *arguments)
    assert result.exit_code == 0, result.output
    trials = trials_at(url)
    assert sum(t.state in FINISHED for t in trials) == 6
    assert len({t.user_attrs["key"] for t in trials}) == len(trials) == 6
    assert len({t.user_attrs["worker"] for t in trials}) == 2
    assert len(list_members(tmp_path / "studies")[0]) == 6
    assert result.stderr.count(" complete: value ") == 6
    small = ("--trials", 2, "--families", "pca", "--device", "cpu", "--studies", "of-the-run")
    run = run_ensad("run", *small, *arguments[2:], "--artifacts", f"file://{tmp_path / 'store'}")
    assert run.exit_code == 0, run.output
    assert len(list_members(tmp_path / "of-the-run")[0]) == 2
    assert "\npca\t2\t" in run.stdout
    logs = result.output + "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert SECRET not in logs


@pytest.mark.slow
def test_workers_of_the_command_share_a_study(run_ensad, data, tmp_path):
    result = run_ensad("tune", *SMALL, "--trials", 6, "--workers", 2)
    assert result.exit_code == 0, result.output
    trials = trials_at(f"sqlite:///{tmp_path / 'studies' / 'studies.db'}")
    assert [t.state in FINISHED for t in trials] == [True] * 6
    assert len({t.user_attrs["key"] for t in trials}) == 6
    assert len({t.user_attrs["worker"] for t in trials}) == 2
    assert result.stderr.count(" complete: value ") == 6
