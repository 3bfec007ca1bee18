"""Everything but training: preprocessing, error kinds, blends, the command line, a study's memory; see pipeline.md.

    python benchmarks/pipeline.py                              all of it; some ten minutes on two cores
    python benchmarks/pipeline.py --only preprocess,cli        some of it
    python benchmarks/pipeline.py --images 20000 --rows 20000  smaller

What is compared takes turns, `--repeats` times; wall and processor seconds are medians, with the least and the largest.
Prints a table and writes benchmarks/results/pipeline-<machine>.json, where parts that were not measured stay.
"""

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import _record
import numpy as np

Row = dict[str, Any]
SIDE, VIA, KEPT = 64, 256, 196
BLENDED, BLENDED_ROWS, REFERENCE_ROWS = 100, 20_000, 5_000
COMPARED = 1_000
TEST_SHARE = 0.19636


def in_turns(ways: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Row]:
    """Wall and processor seconds of each way, the ways taking turns; the first turn is not counted."""
    wall: dict[str, list[float]] = {name: [] for name in ways}
    used: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            gc.collect()
            before, children, started = time.process_time(), _children(), time.perf_counter()
            way()
            if turn:
                wall[name].append(time.perf_counter() - started)
                used[name].append(time.process_time() - before + _children() - children)
    return {name: {"wall": _record.spread(wall[name]), "processor": _record.spread(used[name])} for name in ways}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def crops(n: int, seed: int = 0) -> np.ndarray:
    """Crops of scikit-learn's two photographs, mirrored and tinted: uint8 (n, 64, 64, 3), no two alike."""
    from sklearn.datasets import load_sample_images

    pictures = load_sample_images().images
    rng = np.random.default_rng(seed)
    result = np.empty((n, SIDE, SIDE, 3), dtype=np.uint8)
    for i, tint in enumerate(rng.uniform(0.7, 1.0, (n, 3))):
        picture = pictures[i % 2]
        top, left = (rng.integers(0, edge - SIDE + 1) for edge in picture.shape[:2])
        result[i] = picture[top : top + SIDE, left : left + SIDE, :: rng.choice([-1, 1])] * tint
    return result


def preprocess(options: argparse.Namespace) -> list[Row]:
    """Resize to 256, crop 196, resize to 64: per image by Pillow and torchvision, as published, and here."""
    import torch
    from PIL import Image
    from torchvision import transforms
    from torchvision.transforms import functional

    from ensemble_ad.data.preprocess import Preprocess, apply

    pixels, settings = crops(512), Preprocess(crop=(KEPT / VIA,) * 2, size=(SIDE, SIDE), channels=3, via=VIA)
    chain = transforms.Compose([transforms.Resize(VIA), transforms.CenterCrop(KEPT), transforms.Resize(SIDE)])
    tensors = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    edge = (VIA - KEPT) // 2

    def pillow() -> np.ndarray:
        box = (edge, edge, edge + KEPT, edge + KEPT)
        larger = (Image.fromarray(each).resize((VIA, VIA), Image.Resampling.BILINEAR) for each in pixels)
        cropped = (picture.crop(box).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for picture in larger)
        return np.stack([np.asarray(picture) for picture in cropped])

    def batch() -> torch.Tensor:
        larger = functional.center_crop(functional.resize(tensors, [VIA, VIA], antialias=True), [KEPT, KEPT])
        return functional.resize(larger, [SIDE, SIDE], antialias=True)

    ways = {
        "Pillow, an image at a time": pillow,
        "torchvision on pictures, an image at a time": lambda: [chain(Image.fromarray(each)) for each in pixels],
        "torchvision on tensors, an image at a time": lambda: [chain(each) for each in tensors],
        "torchvision on tensors, all at once": batch,
        "ensemble_ad, `apply`": lambda: apply(pixels, settings),
    }
    timed = in_turns(ways, options.repeats)
    own = apply(pixels, settings).astype(int)
    away = {
        "Pillow, an image at a time": np.abs(own - pillow()),
        "torchvision on tensors, all at once": np.abs(own - batch().permute(0, 2, 3, 1).numpy()),
    }
    rows = []
    for name, found in timed.items():
        row = {"what": f"preprocess: {name}", "microseconds_an_image": 1e6 * found["processor"]["median"] / len(pixels)}
        if name in away:
            row |= {"grey_levels_away_most": int(away[name].max()), "grey_levels_away_mean": float(away[name].mean())}
        rows.append({**row, **found})
    return rows


def errors(options: argparse.Namespace) -> list[Row]:
    """All kinds of error by one pass of a model over the images, and by one pass a kind."""
    import torch

    from ensemble_ad.families import family
    from ensemble_ad.families.reconstruction import ERROR_KINDS
    from ensemble_ad.training import error_vectors as score

    torch.set_num_threads(os.cpu_count() or 1)
    kind = family("cnn")
    model = kind.presets["cnn-sample"].architecture.build((3, SIDE, SIDE)).to(memory_format=torch.channels_last).eval()
    images = torch.from_numpy(crops(512))

    def a_pass_a_kind() -> None:
        for name in ERROR_KINDS:
            score.ERROR_KINDS = {name: ERROR_KINDS[name]}
            score.error_vectors(model, images)
        score.ERROR_KINDS = ERROR_KINDS

    ways = {"all kinds in one pass": lambda: score.error_vectors(model, images), "a pass a kind": a_pass_a_kind}
    return [
        {"what": f"errors: {name}", "images_a_second": len(images) / found["wall"]["median"], **found}
        for name, found in in_turns(ways, options.repeats).items()
    ]


def _scores(rows: int, members: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlated scores of members of unlike worth: float32 (5,000, m), (rows, m) in column order; bool (rows,)."""
    rng = np.random.default_rng(seed)
    label = rng.random(rows) < 0.3
    sides = []
    for n, shift in ((REFERENCE_ROWS, np.zeros(REFERENCE_ROWS)), (rows, label.astype(float))):
        common, table = rng.standard_normal(n), np.empty((n, members), dtype=np.float32, order="F")
        for member in range(members):
            own = np.random.default_rng([seed, member])
            share, worth = own.uniform(0.3, 0.9), own.uniform(0, 1.5)
            noise = rng.standard_normal(n)
            table[:, member] = share * common + np.sqrt(1 - share**2) * noise + worth * shift
        sides.append(table)
    return sides[0], sides[1], label


def blend_once(path: str, method: str) -> None:
    """A process: read scores, blend them, and give every member and the blend its intervals."""
    from ensemble_ad.blend import blend_scores
    from ensemble_ad.statistics import auc_many, compare_to_best, separation_many

    with np.load(path) as file:
        reference, test, label = file["reference"], file["test"], file["label"]
    blend = blend_scores(reference, test, method)
    separations = separation_many(reference, test)
    every = np.column_stack([test, blend.scores])
    aucs = auc_many(label, every)
    intervals = [aucs.estimate(i) for i in range(every.shape[1])]
    intervals += [separations.estimate(i) for i in range(test.shape[1])] + [blend.separation]
    best = compare_to_best(label, every)
    print(len(intervals), int(best.tied.sum()), intervals[test.shape[1]])


def blends(options: argparse.Namespace) -> list[Row]:
    """Whole processes that blend 100 members x 20,000 images."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/scores.npz"
        names = ("reference", "test", "label")
        np.savez(path, **dict(zip(names, _scores(BLENDED_ROWS, BLENDED), strict=True)))
        ways: dict[str, Callable[[], Any]] = {"bare Python": lambda: _run("-c", "pass")}
        for method in ("greedy", "mean", "auto"):
            ways[f"{method}, all intervals"] = lambda method=method: _run(__file__, "--child", "blend", path, method)
        return [
            {"what": f"blend of {BLENDED} x {BLENDED_ROWS:,}: {name}", **found}
            for name, found in in_turns(ways, options.repeats).items()
        ]


def _run(*arguments: str, folder: str | None = None) -> str:
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=True, env=_environment()
    ).stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def copies_once(rows: str, members: str, what: str) -> None:
    """A process: how far its peak of memory lies above what it had before the scores were there, in copies of them."""
    from ensemble_ad.blend import blend_scores
    from ensemble_ad.statistics import auc_many, compare_to_best

    blend_scores(*_scores(600, 20)[:2], what if what in ("auto", "greedy") else "auto")  # what is imported late
    gc.collect()
    before = _resident()
    reference, test, label = _scores(int(rows), int(members))
    size = reference.nbytes + test.nbytes
    started = time.perf_counter()
    if what in ("auto", "greedy", "median"):
        blend_scores(reference, test, what)
    else:
        (auc_many if what == "auc_many" else compare_to_best)(label, test)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({
        "scores_mb": size / 1e6, "peak_mb": peak / 1e6, "before_mb": before / 1e6,
        "copies": (peak - before) / size, "seconds": time.perf_counter() - started,
    }))  # fmt: skip


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def copies(options: argparse.Namespace) -> Iterator[Row]:
    """How many copies of 1,000 members x 100,000 images are held."""
    for what in ("greedy", "auto", "median", "auc_many", "compare_to_best"):
        found = json.loads(_run(__file__, "--child", "copies", str(options.rows), str(options.members), what))
        yield {"what": f"memory of {options.members:,} x {options.rows:,}: {what}", **found}


def cli(options: argparse.Namespace) -> list[Row]:
    """`ensad --help`, and `ensad compare` of 1,000 members: copies of real ones under the keys of other seeds."""
    with tempfile.TemporaryDirectory() as folder:
        _thousand(Path(folder))
        ensad = ("-m", "ensemble_ad")
        ways = {
            "bare Python": lambda: _run("-c", "pass", folder=folder),
            "ensad --help": lambda: _run(*ensad, "--help", folder=folder),
            f"ensad compare, {COMPARED:,} members": lambda: _run(*ensad, "compare", folder=folder),
            f"ensad compare --format csv, {COMPARED:,} members": lambda: _run(
                *ensad, "compare", "--format", "csv", folder=folder
            ),
        }
        return [{"what": name, **found} for name, found in in_turns(ways, options.repeats).items()]


def _thousand(folder: Path) -> None:
    from ensemble_ad.data.digits import write_digits
    from ensemble_ad.training.recipe import Recipe

    write_digits(folder / "data")
    tune = "tune --family fcn --trials 3 --epochs 20 --max-width 128 --no-prune --device cpu -q"
    _run("-m", "ensemble_ad", *tune.split(), folder=str(folder))
    members = folder / "studies" / "members"
    real = [(each, json.loads((each / "member.json").read_text())) for each in sorted(members.iterdir())]
    for number in range(COMPARED - len(real)):
        source, info = real[number % len(real)]
        recipe = {**info["recipe"], "training": {**info["recipe"]["training"], "seed": number + 1}}
        key = Recipe.from_json(recipe).key
        (members / key).mkdir()
        (members / key / "member.json").write_text(json.dumps({**info, "key": key, "recipe": recipe}, indent=1))
        for name in ("vectors.npz", "weights.safetensors"):
            (members / key / name).hardlink_to(source / name)
    _run("-m", "ensemble_ad", "blend", "--members", "fcn:20", "--method", "mean", folder=str(folder))


def study(options: argparse.Namespace) -> list[Row]:
    """The peak of a study's memory, torch and the memory-mapped images included, beside the size of the images."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name, "data")
        data.mkdir()
        write_images(data, options.images)
        size = sum(file.stat().st_size for file in data.iterdir())
        command = f"tune --family fcn --max-width 128 --trials {options.trials} --epochs 1 --no-prune --device cpu -q"
        started = time.perf_counter()
        peak = _peak(name, *command.split())
        idle = _peak(name, "import")
        return [
            {
                "what": f"study of {options.images:,} images", "images_mb": size / 1e6, "peak_mb": peak / 1e6,
                "beyond_images_mb": (peak - size) / 1e6, "import_alone_mb": idle / 1e6, "trials": options.trials,
                "seconds": time.perf_counter() - started,
            }
        ]  # fmt: skip


def _peak(folder: str, *arguments: str) -> int:
    return int(_run(str(Path(__file__).resolve()), "--child", "peak", *arguments, folder=folder).split()[-1])


def write_images(data: Path, n: int) -> None:
    """A contest's two files, uint8 (n, 64, 64, 3) and a fifth as many."""
    for name, count, seed in (("trainingset.npy", n, 0), ("testingset.npy", round(n * TEST_SHARE), 1)):
        opened = np.lib.format.open_memmap(data / name, mode="w+", dtype=np.uint8, shape=(count, SIDE, SIDE, 3))
        for start in range(0, count, 5000):
            opened[start : start + 5000] = crops(min(5000, count - start), seed=1000 * seed + start)


def peak_once(*arguments: str) -> None:
    """A process: run `ensad` and tell the bytes that it had resident at most, file-backed pages included."""
    from ensemble_ad.cli import main

    if arguments[0] == "import":
        import ensemble_ad.search.tune  # noqa: F401
    else:
        main(list(arguments), standalone_mode=False)
    # Not `ru_maxrss`, which begins with what the parent had when it started this process.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) * 1024)


PARTS: dict[str, Callable[[argparse.Namespace], Iterable[Row]]] = {
    "preprocess": preprocess,
    "errors": errors,
    "blends": blends,
    "copies": copies,
    "cli": cli,
    "study": study,
}


def shown(row: Row) -> str:
    """A row of the table: seconds of wall and processor where they were taken, and the row's own numbers."""
    cells = []
    for name in ("wall", "processor"):
        if name in row:
            found = row[name]
            cells.append(f"{name} {found['median']:.3f} s [{found['least']:.3f}, {found['largest']:.3f}]")
    for name, value in row.items():
        if isinstance(value, int | float):
            cells.append(f"{name.replace('_', ' ')} {value:,.4g}")
    return f"{row['what']:64}  {'; '.join(cells)}"


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="Parts, with commas between.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=100_000, help="Of the study.")
    parser.add_argument("--trials", type=int, default=2, help="Of the study.")
    parser.add_argument("--rows", type=int, default=100_000, help="Images of the scores whose copies are counted.")
    parser.add_argument("--members", type=int, default=1_000, help="Members of them.")
    parser.add_argument("--out", type=Path, default=_record.RESULTS / f"pipeline-{_record.machine_name()}.json")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        {"blend": blend_once, "copies": copies_once, "peak": peak_once}[options.child[0]](*options.child[1:])
        return
    chosen = options.only.split(",")
    # What is not measured now stays as it was measured last, each row under its own date and load.
    before = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    rows = [row for row in before if row["part"] not in chosen]
    for part in chosen:
        for row in PARTS[part](options):
            print(shown(row), flush=True)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            rows.append({"part": part, **row, "date": now, "load": round(os.getloadavg()[0], 1)})
        rows.sort(key=lambda row: list(PARTS).index(row["part"]))
        _record.write(options.out, rows, command=" ".join(["python", *sys.argv]))
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
