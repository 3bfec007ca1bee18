"""What every benchmark notes beside its figures: machine, versions, load and date; and how it writes them down."""

import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("ensemble-ad", "torch", "torchvision", "numpy", "scipy", "pandas", "pillow", "optuna", "click")
RESULTS = Path(__file__).with_name("results")


def environment() -> dict[str, Any]:
    """Machine, versions, threads, load and date of now, as JSON values; imports nothing that is measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gb": _memory_gb(),
            "gpu": _gpus(),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), **_versions(), "commit": _commit()},
        "threads": {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ},
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def machine_name() -> str:
    """A short name of this machine for file names: its first GPU or its processor, and the number of cores."""
    found = environment()["machine"]
    words = re.sub(r"[^a-z0-9]+", "-", (found["gpu"] or [found["cpu"]])[0].lower()).strip("-")
    return f"{words[:40].strip('-')}-{found['cores']}-cores"


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """Median, least and largest of repeats, and how many there were."""
    return {"median": statistics.median(values), "least": min(values), "largest": max(values), "repeats": len(values)}


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


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


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
