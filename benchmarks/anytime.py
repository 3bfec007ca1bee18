"""What `ensad run` has after 1, 3, 10 and 30 minutes, beside other schedules and what people begin with.

    python benchmarks/_sets.py SOURCE SETS
    python benchmarks/anytime.py --sets SETS --set faces64 --mode run --seed 0 --minutes 30
    python benchmarks/anytime.py --sets SETS --set faces64 --mode run --kills 20 --minutes 10
    python benchmarks/anytime.py --sets SETS --set faces64 --mode run --generated 100000 --minutes 10
    python benchmarks/anytime.py --sets SETS --set faces64 --mode run --overhead 12
    python benchmarks/anytime.py

A call does one piece, unless the results have it, adds it to them and prints the tables; without --set it prints them.
A run is one process of the command line, in an empty folder. Each blend that it writes is copied when it appears, and
the one that was there at a checkpoint is held against the labels after the run has ended. Time begins with the command.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import numpy as np
import numpy.typing as npt
from _peers import PEERS, read
from _record import environment, head, line, over_seeds, parser, result_file, write
from _sets import ALL

Row = dict[str, Any]
BEGAN = time.monotonic()
CHECKPOINTS = (1, 3, 10, 30)
NAME, TICK = "run", 0.1
ENSAD = (sys.executable, "-m", "ensemble_ad")
SCHEDULER = (sys.executable, str(Path(__file__).with_name("_scheduler.py")))
RUNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "run": (ENSAD, ()),
    "transductive": (ENSAD, ("--transductive",)),
    "no-look": (ENSAD, ("--no-look",)),
    "equal-time": ((*SCHEDULER, "equal-time"), ()),
    "portfolio-alone": ((*SCHEDULER, "portfolio-alone"), ()),
}
"""A run's program, and what it is told besides its time."""


@dataclass(kw_only=True)
class Process:
    """An `ensad run` in a folder of its own, watched from outside.

    Attributes:
        command: what is run, in that folder.
        folder: where it runs; `studies` is below it, and `kept` gets the blends.
        blends: seconds since the first command began, and the copy of a blend that was written then.
        peak: the most bytes that its processes had resident together.
        wall: seconds that its commands have taken in all.
    """

    command: Sequence[str]
    folder: Path
    blends: list[tuple[float, Path]] = field(default_factory=list, init=False)
    peak: int = field(default=0, init=False)
    wall: float = field(default=0.0, init=False)
    _seen: tuple[int, int] = field(default=(0, 0), init=False)

    def run(self, kill_after: float | None = None) -> int:
        """Run the command, once, and kill it after so many seconds; its exit status."""
        began, began_at = time.monotonic(), time.time() - self.wall
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                self.command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )  # fmt: skip
            try:
                while process.poll() is None:
                    self._look(process.pid, began_at)
                    if kill_after is not None and time.monotonic() - began > kill_after:
                        os.killpg(process.pid, signal.SIGKILL)
                        break
                    time.sleep(TICK)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
        self.wall += time.monotonic() - began
        self._look(process.pid, began_at)
        return status

    def _look(self, pid: int, began_at: float) -> None:
        """Note what memory is taken, and copy the blend if it is a new one."""
        self.peak = max(self.peak, _resident(pid))
        blend, n = self.folder / f"studies/blends/{NAME}", len(self.blends)
        with suppress(OSError):
            now = _stamp(blend)
            if now == self._seen:
                return
            copy = self.folder / f"kept/{n}"
            rmtree(copy, ignore_errors=True)
            copytree(blend, copy / f"blends/{NAME}")
            if _stamp(blend) == now:  # else it was replaced meanwhile, and the next look copies it
                self._seen = now
                self.blends.append((round(now[1] / 1e9 - began_at, 2), copy))

    @property
    def record(self) -> Any:
        """What the run itself has kept."""
        return json.loads((self.folder / f"studies/runs/{NAME}.json").read_text(encoding="utf-8"))

    def aucs(self, folder: Path, checkpoints: Sequence[float]) -> tuple[dict[str, float], list[tuple[float, float]]]:
        """The AUC of the blend at each checkpoint (in minutes), and of all blends if they have their scores."""
        images = read(folder)
        known: dict[Path, float] = {}

        def auc(copy: Path) -> float:
            if copy not in known:
                known[copy] = _auc(images.label, _scores(copy, self.folder / "studies", images.test))
            return known[copy]

        found = {}
        for minutes in checkpoints:
            there = [copy for seconds, copy in self.blends if seconds <= 60 * minutes]
            if there:
                found[str(minutes)] = auc(there[-1])
        if self.blends:
            found["end"] = auc(self.blends[-1][1])
        looked = all(len(_saved(copy).scores()) for _, copy in self.blends)
        return found, [(seconds, auc(copy)) for seconds, copy in self.blends] if looked else []


def _stamp(blend: Path) -> tuple[int, int]:
    found = (blend / "blend.json").stat()
    return found.st_ino, found.st_mtime_ns


def _resident(group: int) -> int:
    """Bytes that the processes of that group have resident, each with what it shares; 0 where that is not told."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may have ended meanwhile
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


def _saved(copy: Path) -> Any:
    from ensemble_ad.blend.saved import load_blend

    return load_blend(copy, NAME)


def _scores(copy: Path, studies: Path, test: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """The test images' scores: the blend's own, or those that its models give where it has looked at none."""
    scores: npt.NDArray[np.float64] = _saved(copy).scores()
    if len(scores):
        return scores
    from ensemble_ad.detect.scorer import load_blend

    for entry in studies.iterdir():
        if entry.name != "blends" and not (copy / entry.name).exists():
            (copy / entry.name).symlink_to(entry)
    return load_blend(NAME, copy).score(test)


def _auc(label: npt.NDArray[np.int8], scores: npt.NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(label, scores)), 5)


@contextmanager
def process(given: Any, *ends: str, data: Path | None = None) -> Iterator[Process]:
    """A run of that mode in a new folder, which goes in the end; `ends` is its time or its trials."""
    program, told = RUNS[given.mode]
    source = data or given.sets.absolute() / given.set / "data"
    if given.work is not None:
        given.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.work, prefix="anytime-") as name:
        command = [*program, "run", *ends, "--data", str(source), "--seed", str(given.seed), "--name", NAME, *told]
        yield Process(command=command, folder=Path(name))


def _lasting(minutes: float) -> tuple[str, str]:
    return "--time", f"{round(60 * minutes)}s"


def measured(given: Any) -> Row:
    """A run of so many minutes: the AUC at the checkpoints and of every blend."""
    with process(given, *_lasting(given.minutes)) as run:
        status = run.run()
        return {"status": status, **_told(run, given)}


def _told(run: Process, given: Any) -> Row:
    """What all pieces tell of a run."""
    aucs, curve = run.aucs(given.sets / given.set, [minutes for minutes in CHECKPOINTS if minutes <= given.minutes])
    if given.minutes in CHECKPOINTS and run.blends:
        aucs[f"{given.minutes:g}"] = aucs["end"]  # the last blend is what the command hands in
    record = run.record
    return {
        "wall_seconds": round(run.wall, 1),
        "overrun_seconds": round(run.wall - 60 * given.minutes, 1),
        "peak_mb": round(run.peak / 1e6),
        "auc": aucs,
        "curve": curve,
        "value": record["curve"],
        "trials": record["done"],
    }


def peer(given: Any) -> Row:
    """What people begin with: the AUC after each epoch, or once."""
    try:
        curve = PEERS[given.mode](read(given.sets / given.set), BEGAN, given.seed, 60 * given.minutes)
    except ModuleNotFoundError as error:
        raise SystemExit(f"not measured: {error.name} is not installed") from None
    at = {str(m): [auc for seconds, auc in curve if seconds <= 60 * m] for m in CHECKPOINTS if m <= given.minutes}
    ends = {"end": curve[-1][1]} if curve else {}
    return {"wall_seconds": curve[-1][0], "auc": {m: aucs[-1] for m, aucs in at.items() if aucs} | ends, "curve": curve}


def killed(given: Any) -> Row:
    """A run that is killed at random moments, then let go on to its end; what each kill has left can be loaded."""
    draw = random.Random(given.seed)
    with process(given, *_lasting(given.minutes)) as run:
        statuses, unreadable, n_kills = [], 0, 0
        while n_kills < given.kills:
            status = run.run(kill_after=draw.uniform(1, 120 * given.minutes / given.kills))
            if status != -signal.SIGKILL:
                statuses.append(status)
                break
            n_kills += 1
            unreadable += not _whole(run.folder / "studies")
        else:
            statuses.append(run.run())
        return {
            "kills": n_kills,
            "status": statuses[-1],
            "unreadable": unreadable,
            "left_over": len([*(run.folder / "studies").rglob("*.part*")]),
            "used_seconds": run.record["used"],
            **_told(run, given),
        }


def _whole(studies: Path) -> bool:
    """Whether all members and the blend, if there are any, can be read."""
    from ensemble_ad.blend.saved import list_blends
    from ensemble_ad.members.store import list_members, sound_members

    members, damaged = list_members(studies) if studies.exists() else ([], [])
    blends, problems = list_blends(studies)
    for blend in blends:
        blend.scores()
    return not damaged and not problems and not sound_members(members)[1]


def generated(given: Any) -> Row:
    """A run on so many images that are made from the set's training images."""
    images = read(given.sets / given.set)
    with tempfile.TemporaryDirectory(dir=given.work, prefix="anytime-data-") as name:
        np.save(Path(name) / "trainingset.npy", augmented(images.train, given.generated, given.seed))
        np.save(Path(name) / "testingset.npy", np.ascontiguousarray(images.test.repeat(3 // images.test.shape[3], 3)))
        with process(given, *_lasting(given.minutes), data=Path(name)) as run:
            status = run.run()
            size = Path(name, "trainingset.npy").stat().st_size
            return {"status": status, "images_mb": round(size / 1e6), **_told(run, given)}


def augmented(images: npt.NDArray[np.uint8], n: int, seed: int) -> npt.NDArray[np.uint8]:
    """uint8 (n, side, side, 3): mirrored, moved by a tenth of the side at most, with other contrast, tint and noise."""
    rng, side = np.random.default_rng(seed), images.shape[1]
    margin = side // 10
    made = np.empty((n, side, side, 3), dtype=np.uint8)
    for place in range(n):
        wide = np.pad(images[rng.integers(len(images))], ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        top, left = rng.integers(0, 2 * margin + 1, 2)
        part = wide[top : top + side, left : left + side][:, :: rng.choice([-1, 1])]
        grey = 127.5 + rng.uniform(0.7, 1.1) * (part - 127.5) + rng.normal(0, 4, part.shape)
        made[place] = np.clip(grey * rng.uniform(0.9, 1.0, 3), 0, 255)
    return made


def overhead(given: Any) -> Row:
    """The share of a run of so many trials, from the command's start, that is neither training nor scoring."""
    from ensemble_ad.members.store import list_members

    with process(given, "--trials", str(given.overhead)) as run:
        status = run.run()
        members = list_members(run.folder / "studies")[0]
        worked = sum(member.info.seconds.train + member.info.seconds.score for member in members)
        return {
            "status": status,
            "trials": given.overhead,
            "wall_seconds": round(run.wall, 1),
            "worked_seconds": round(worked, 1),
            "share": round(1 - worked / run.wall, 4),
        }


PIECES: dict[str, Callable[[Any], Row]] = {
    "run": measured, "peer": peer, "kills": killed, "generated": generated, "overhead": overhead,
}  # fmt: skip


def which(given: Any) -> Row:
    """The piece that the command line asks for: what it is known by among the results."""
    asked = [name for name in ("kills", "generated", "overhead") if getattr(given, name)]
    if len(asked) > 1:
        raise SystemExit(f"give one of --kills, --generated and --overhead, not {len(asked)}")
    piece = asked[0] if asked else "peer" if given.mode in PEERS else "run"
    if asked and given.mode in PEERS:
        raise SystemExit(f"--{piece} is of a run; give --mode {' or '.join(RUNS)}, not {given.mode}")
    key = {"piece": piece, "set": given.set, "mode": given.mode, "seed": given.seed}
    if asked:
        key["of"] = getattr(given, piece)
    return key if piece == "overhead" else {**key, "minutes": given.minutes}


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the tables, of a piece that was measured again its latest row."""
    columns = [*map(str, CHECKPOINTS), "end"]
    by_date = sorted((row for row in rows if row["piece"] in ("run", "peer")), key=lambda row: row["date"])
    timed = sorted(
        {(row["set"], row["minutes"], row["mode"], row["seed"]): row for row in by_date}.values(),
        key=lambda row: (list(ALL).index(row["set"]), row["minutes"], [*RUNS, *PEERS].index(row["mode"]), row["seed"]),
    )
    print(head("set", "minutes in all", "what", "seeds", *(f"AUC at {c} min" for c in columns[:-1]), "at the end",
               "wall time"))  # fmt: skip
    for (name, minutes, mode), some in groupby(timed, lambda row: (row["set"], row["minutes"], row["mode"])):
        alike = list(some)
        cells = [[row["auc"][column] for row in alike if column in row["auc"]] for column in columns]
        walls = over_seeds([row["wall_seconds"] for row in alike], ".1f")
        shown = (over_seeds(each, ".4f") if len(each) == len(alike) else "-" for each in cells)
        print(line(name, f"{minutes:g}", mode, len(alike), *shown, f"{walls} s"))
    for row in rows:
        if row["piece"] not in ("run", "peer"):
            print(f"\n{in_words(row)}")


def in_words(row: Mapping[str, Any]) -> str:
    """A line about a piece that is in no table."""
    about = f"{row['set']}, {row['mode']}, seed {row['seed']}"
    if row["piece"] == "overhead":
        return (
            f"{about}: {row['share']:.1%} of the {row['wall_seconds']} s of {row['trials']} trials were neither "
            "training nor scoring"
        )
    what = f"{row['kills']} kills" if row["piece"] == "kills" else f"{row['of']:,} images of {row['images_mb']} MB"
    ended = f"{row['overrun_seconds']:+.1f} s of {row['minutes']:g} min, peak {row['peak_mb']} MB"
    found = f"AUC {row['auc']['end']:.4f}" if row["auc"] else "no blend"
    left = ""
    if row["piece"] == "kills":
        own = f"{row['used_seconds']:.0f} s by its own record"
        left = f", {own}, unreadable after {row['unreadable']} of them, {row['left_over']} files left over"
    return f"{about}: {what}: {ended}, {len(row['trials'])} trials, {found}, exit status {row['status']}{left}"


def options() -> argparse.ArgumentParser:
    """The command line."""
    made = parser(__doc__, out=True)
    made.add_argument("--sets", type=Path, default=Path("sets"), help="what _sets.py has written")
    made.add_argument("--set", choices=list(ALL))
    made.add_argument("--mode", choices=[*RUNS, *PEERS], default="run")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--minutes", type=float, default=30.0)
    made.add_argument("--kills", type=int, help="kill the run that often")
    made.add_argument("--generated", type=int, help="train on that many images, made of the set's")
    made.add_argument("--overhead", type=int, metavar="TRIALS", help="what else than training and scoring takes time")
    made.add_argument("--work", type=Path, help="where the runs' folders are made")
    return made


def main() -> None:
    """Do the piece unless it is done, and print."""
    given = options().parse_args()
    path = given.out or result_file("anytime")
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    if given.set is not None:
        key = which(given)
        if any(key.items() <= row.items() for row in rows):
            print(f"{path} has this piece already", file=sys.stderr)
        else:
            began = environment()
            row = {**key, "date": began["date"], "commit": began["versions"]["commit"], "load": began["load"]}
            rows.append({**row, **PIECES[key["piece"]](given)})
            write(path, rows, command="python benchmarks/anytime.py")
    show(rows)


if __name__ == "__main__":
    main()
