"""All that wants a GPU, in pieces of eight minutes at most, the cheapest and most telling first.

    python benchmarks/gpu.py                          all pieces that were not done here before
    python benchmarks/gpu.py tests steps-cnn          these alone
    python benchmarks/gpu.py --data faces             with the contest's images; pieces that need labels want it
    python benchmarks/gpu.py --list

Each piece is a command of its own, which can be given alone. What it prints is kept in `build/gpu/PIECE.log`, its rows
in `benchmarks/results/gpu-PIECE.json`. A piece whose log is there is done and is left out; one that fails or takes too
long leaves `PIECE.part`, is told at the end, and is begun anew by the same command.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

_LOGS, _RESULTS = Path("build/gpu"), Path("benchmarks/results")
_SECONDS = 480


class Piece(NamedTuple):
    """A command; `{out}`, `{data}`, `{labels}` and `{scratch}` in it are filled in.

    Attributes:
        command: what python is given.
        tells: what for.
    """

    command: str
    tells: str


_TRAIN = "benchmarks/train.py --device cuda --out {out} {data}"
PIECES = {
    "tests": Piece("-m pytest -q -m gpu tests/training", "the tests that need a GPU: graphs, their precisions, parity"),
    "steps-cnn": Piece(
        f"{_TRAIN} --models cnn-sample --methods ensad,ensad-eager,ensad-fp32 --repeats 1", "images a second"
    ),
    "steps-fcn": Piece(
        f"{_TRAIN} --models fcn-boss --methods ensad,ensad-eager,ensad-fp32 --repeats 1", "images a second"
    ),
    "steps-vae": Piece(f"{_TRAIN} --models vae-sample --methods ensad --repeats 1", "images a second"),
    "steps-resnet": Piece(f"{_TRAIN} --models resnet-boss --methods ensad --repeats 1", "images a second"),
    "study": Piece(
        "benchmarks/study.py --device cuda --trials 10 --epochs 20 --size 64 --max-width 4096 --seeds 0 "
        "--images 100000 --out {out} {data} {labels}",
        "trials an hour; 50 of them in 10 minutes is the target",
    ),
    "several": Piece(
        "benchmarks/several.py --device cuda --trials 8 --processes 4 --images 100000 --batch-size 1024 --out {out}",
        "processes at once on one GPU",
    ),
    "parity": Piece(
        "benchmarks/parity.py --device cuda --epochs 2 --studies {scratch} --out {out} {data} {labels}",
        "whether a replayed graph and 16 bits judge as float32 does",
    ),
    "notebook": Piece(
        f"{_TRAIN} --models vae-sample --methods notebook,ensad --epochs 2 --repeats 1", "how many times the notebook"
    ),
    "compile": Piece(f"{_TRAIN} --models cnn-sample --methods ensad,compiled --repeats 1", "torch.compile's share"),
}


def run(name: str, data: Path | None) -> str:
    """Run a piece; what went wrong, or nothing."""
    piece = PIECES[name]
    if "{labels}" in piece.command and data is None:
        return "needs --data, a folder with trainingset.npy, testingset.npy and labels.csv"
    part = _LOGS / f"{name}.part"
    with tempfile.TemporaryDirectory() as scratch, part.open("w") as log:
        words = piece.command.format(
            out=_RESULTS / f"gpu-{name}.json",
            data="" if data is None else f"--data {data}",
            labels="" if data is None else f"--labels {data / 'labels.csv'}",
            scratch=scratch,
        ).split()
        print(f"{name}: python {' '.join(words)}", flush=True)
        started = time.perf_counter()
        try:
            code = subprocess.run(
                [sys.executable, *words], stdout=log, stderr=subprocess.STDOUT, timeout=_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return f"took more than {_SECONDS} s; see {part}"
    if code:
        return f"ended with {code}; see {part}"
    part.rename(part.with_suffix(".log"))
    print(f"{name}: done in {time.perf_counter() - started:.0f} s", flush=True)
    return ""


def main() -> int:
    """Run the pieces that are asked for and not done."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("pieces", nargs="*", choices=[[], *PIECES], default=[], metavar="PIECE")
    arguments.add_argument("--data", type=Path, help="folder with trainingset.npy, testingset.npy and labels.csv")
    arguments.add_argument("--list", action="store_true", help="name the pieces and run none")
    given = arguments.parse_args()
    _LOGS.mkdir(parents=True, exist_ok=True)
    wrong = {}
    for name in given.pieces or PIECES:
        done = (_LOGS / f"{name}.log").exists()
        if given.list:
            print(f"{name:13}{'done' if done else '':6}{PIECES[name].tells}")
        elif done and not given.pieces:
            print(f"{name}: done before, see {_LOGS / name}.log")
        elif error := run(name, given.data):
            wrong[name] = error
    for name, error in wrong.items():
        print(f"{name}: {error}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
