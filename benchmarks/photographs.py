"""What one `ensad run` gives a lab: photographs as they are, good ones to learn from, test pictures seen or not.

    python benchmarks/photographs.py magnetic_tile OUT --time 10m --seed 0
    python benchmarks/photographs.py magnetic_tile OUT --time 10m --seed 0 --test

MVTec AD's layout. A call makes one run in a new folder of OUT, looks at the folders' names and the masks when it has
ended, and prints a table of a line.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from _record import head, line

NAME, RATE = "line", "0.05"


def ensad(folder: Path, *words: str) -> str:
    """What a command prints on stdout, run in that folder."""
    command = [sys.executable, "-m", "ensemble_ad", *words, "-q"]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE).stdout.decode()


def linked(folder: Path, source: Path, *names: str) -> None:
    """Folders of the source, as links in `data`."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "data" / name).symlink_to(source.absolute() / name)


def judged(folder: Path) -> dict[str, Any]:
    """What `ensad evaluate` says of the blend, and how many good test pictures alarm in `ensad score`."""
    told = json.loads(ensad(folder, "evaluate", "--labels", "data/test", "--blend", NAME, "--anyway", "--json"))
    ensad(folder, "score", "data/test", "--blend", NAME, "--alarm-rate", RATE, "-o", "scores.csv")
    scores = pd.read_csv(folder / "scores.csv", index_col="ID")
    alarms = scores["alarm"][scores.index.str.startswith("good/")]
    return {**told["result"], "alarms": int(alarms.sum()), "good": len(alarms)}


def main() -> None:
    """Run, then look at the labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--time", default="10m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test", action="store_true", help="the run sees the test pictures")
    given = parser.parse_args()
    folder = given.out / f"{'test' if given.test else 'alone'}-{given.seed}"
    linked(folder, given.source, "train", *(["test"] if given.test else []))
    began = time.monotonic()
    ensad(folder, "run", "--time", given.time, "--seed", str(given.seed), "--name", NAME)
    wall = time.monotonic() - began
    linked(folder, given.source, "ground_truth", *([] if given.test else ["test"]))
    found = judged(folder)
    best = max((row for row in found["rows"] if row["name"] != NAME), key=lambda row: row["auc"])
    (blend,) = (row for row in found["rows"] if row["name"] == NAME)
    by_kind = {row["kind"]: f"{row['auc']:.3f}" for row in found["kinds"] if row["name"] == NAME}
    pixels, of_best = found["pixels"], f"{best['auc']:.3f} ({best['name'].partition('-')[0]})"
    print(
        head("test pictures", "seed", "s", "AUC", *by_kind, "best model, by labels", "pixel AUROC", "AUPRO", "alarms")
    )
    cells = [f"{blend['auc']:.3f}", *by_kind.values(), of_best, f"{pixels['auroc']:.3f}", f"{pixels['aupro']:.3f}"]
    alarms = f"{found['alarms']} of {found['good']}"
    print(line("seen" if given.test else "none", given.seed, f"{wall:.0f}", *cells, alarms))


if __name__ == "__main__":
    main()
