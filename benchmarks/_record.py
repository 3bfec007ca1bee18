"""What the benchmarks share beside their turns: the command line, the printed tables, the machine and the results.

Nothing that is measured is imported here.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("ensemble-ad", "torch", "torchvision", "numpy", "scipy", "pandas", "pillow", "optuna", "click")
RESULTS = Path(__file__).with_name("results")


def parser(
    doc: str | None, *paths: str, device: bool = False, repeats: int | None = None, out: bool = False
) -> argparse.ArgumentParser:
    """A command line with the arguments that several benchmarks take.

    Args:
        doc: the script's docstring, shown by `--help`.
        paths: required arguments, as "data" for `--data`.
        device: whether there is `--device`.
        repeats: the default of `--repeats`; None is a script without it.
        out: whether there is `--out`, the file that `record` writes.
    """
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in paths:
        made.add_argument(f"--{name}", type=Path, required=True)
    if device:
        made.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    if repeats is not None:
        made.add_argument("--repeats", type=int, default=repeats)
    if out:
        made.add_argument("--out", type=Path, help="else a file in benchmarks/results, named after the machine")
    return made


def head(*names: str) -> str:
    """The first two lines of a Markdown table."""
    return f"{line(*names)}\n|{'---|' * len(names)}"


def line(*cells: object) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def shown(spread: Mapping[str, float], form: str) -> str:
    """What `_turns.spread` found as "median (least to largest)", each number in that format."""
    return f"{spread['median']:{form}} ({spread['least']:{form}} to {spread['largest']:{form}})"


def over_seeds(
    values: Sequence[float], form: str, deviation: Callable[[Sequence[float]], float] = statistics.stdev
) -> str:
    """Mean ± standard deviation, each in that format; of one value itself."""
    mean = f"{statistics.mean(values):{form}}"
    return mean if len(values) == 1 else f"{mean} ± {deviation(values):{form}}"


def environment() -> dict[str, Any]:
    """Machine, versions, threads, load and date of now, as JSON values."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu(),
            "cores": _cores(),
            "memory_gb": _memory_gb(),
            "gpu": _gpus(),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), **_versions(), "commit": _commit()},
        "threads": {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ},
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def result_file(benchmark: str) -> Path:
    """The file of this machine's results, which is named after its first GPU or its processor, and its cores."""
    words = re.sub(r"[^a-z0-9]+", "-", (_gpus() or [_cpu()])[0].lower()).strip("-")
    return RESULTS / f"{benchmark}-{words[:40].strip('-')}-{_cores()}-cores.json"


def write(path: Path, rows: Sequence[Mapping[str, Any]], **extra: Any) -> None:
    """Write a benchmark's rows, with `environment()` and whatever else it has to say, as JSON.

    Args:
        path: the file; its folder is made.
        rows: JSON values, one mapping a row of the printed table; NaN and infinity are refused.
        extra: further JSON values, such as the command, the seeds and the load at the start.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {**environment(), **extra, "rows": [dict(row) for row in rows]}
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def record(benchmark: str, out: Path | None, rows: Sequence[Mapping[str, Any]], **extra: Any) -> None:
    """Write the rows of that script, with its command, to `out`, or else to `result_file`; print where."""
    path = out or result_file(benchmark)
    write(path, rows, command=f"python benchmarks/{benchmark}.py", **extra)
    print(f"written to {path}")


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _gpus() -> list[str]:
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.split("\n")[:-1] if listed.returncode == 0 else []


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    """The commit of the code, with a + where files differ from it; empty outside a git checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], cwd=here, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + ("+" if changed.stdout.strip() else "")
