"""Everything but training: preprocessing, error kinds, blends, the command line, a study's memory; see pipeline.md.

    python benchmarks/pipeline.py                              all of it; some ten minutes on two cores
    python benchmarks/pipeline.py --only preprocess,cli        some of it
    python benchmarks/pipeline.py --images 20000 --rows 20000  smaller

What is compared takes turns, `--repeats` times; wall and processor seconds are medians, with the least and the largest.
Prints a table and writes benchmarks/results/pipeline-<machine>.json, where parts that were not measured stay.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from _child import made_scores
from _images import SIDE, crops
from _record import parser, result_file, shown, write
from _turns import spread, timed

from ensemble_ad.members.recipe_info import RecipeInfo

Row = dict[str, Any]
CHILD = Path(__file__).with_name("_child.py")
VIA, KEPT = 256, 196
BLENDED, BLENDED_ROWS = 100, 20_000
COMPARED = 1_000
TEST_SHARE = 0.19636


def costs(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Row]:
    """The spreads of each way's seconds, by the clock and of the processor."""
    return {
        name: {"wall": spread([each.wall for each in some]), "processor": spread([each.processor for each in some])}
        for name, some in timed(ways, repeats).items()
    }


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
        smaller: torch.Tensor = functional.resize(larger, [SIDE, SIDE], antialias=True)
        return smaller

    ways: dict[str, Callable[[], object]] = {
        "Pillow, an image at a time": pillow,
        "torchvision on pictures, an image at a time": lambda: [chain(Image.fromarray(each)) for each in pixels],
        "torchvision on tensors, an image at a time": lambda: [chain(each) for each in tensors],
        "torchvision on tensors, all at once": batch,
        "ensemble_ad, `apply`": lambda: apply(pixels, settings),
    }
    own = apply(pixels, settings).astype(int)
    away = {
        "Pillow, an image at a time": np.abs(own - pillow()),
        "torchvision on tensors, all at once": np.abs(own - batch().permute(0, 2, 3, 1).numpy()),
    }
    rows = []
    for name, found in costs(ways, options.repeats).items():
        row = {"what": f"preprocess: {name}", "microseconds_an_image": 1e6 * found["processor"]["median"] / len(pixels)}
        if name in away:
            row |= {"grey_levels_away_most": int(away[name].max()), "grey_levels_away_mean": float(away[name].mean())}
        rows.append({**row, **found})
    return rows


def errors(options: argparse.Namespace) -> list[Row]:
    """All kinds of error by one pass of a model over the images, and by one pass a kind."""
    import torch

    from ensemble_ad.families import preset
    from ensemble_ad.families.reconstruction import ERROR_KINDS
    from ensemble_ad.training.error_vectors import error_vectors

    torch.set_num_threads(os.cpu_count() or 1)
    architecture = preset("cnn-sample")[1].architecture
    model = architecture.build((3, SIDE, SIDE)).to(memory_format=torch.channels_last).eval()
    images = torch.from_numpy(crops(512))

    def a_pass_a_kind() -> None:
        for kind in ERROR_KINDS:
            error_vectors(model, images, kinds=[kind])

    ways = {"all kinds in one pass": lambda: error_vectors(model, images), "a pass a kind": a_pass_a_kind}
    return [
        {"what": f"errors: {name}", "images_a_second": len(images) / found["wall"]["median"], **found}
        for name, found in costs(ways, options.repeats).items()
    ]


def blends(options: argparse.Namespace) -> list[Row]:
    """Whole processes that blend 100 members x 20,000 images."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/scores.npz"
        reference, test, label = made_scores(BLENDED_ROWS, BLENDED)
        np.savez(path, reference=reference, test=test, label=label)
        ways = {"bare Python": partial(_run, "-c", "pass")}
        for method in ("greedy", "mean", "auto"):
            ways[f"{method}, all intervals"] = partial(_run, str(CHILD), "blend", path, method)
        return [
            {"what": f"blend of {BLENDED} x {BLENDED_ROWS:,}: {name}", **found}
            for name, found in costs(ways, options.repeats).items()
        ]


def command(options: argparse.Namespace) -> list[Row]:
    """`ensad blend` of 100 members x 20,000 images on disk: reading, blending, writing, telling."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _hundred(folder)
        ensad = partial(_run, "-m", "ensemble_ad", folder=name)
        ways: dict[str, Callable[[], object]] = {"bare Python": partial(_run, "-c", "pass", folder=name)}
        for method in ("greedy", "mean", "auto"):
            blend = ("blend", "--members", f"fcn:{BLENDED}", "--method", method, "--name", method, "-q")
            ways[f"ensad blend --method {method}"] = partial(_blended, folder, ensad, blend)
        return [
            {"what": f"{BLENDED} x {BLENDED_ROWS:,} on disk: {name}", **found}
            for name, found in costs(ways, options.repeats).items()
        ]


def _blended(folder: Path, ensad: Callable[..., str], blend: Sequence[str]) -> None:
    shutil.rmtree(folder / "studies" / "blends", ignore_errors=True)
    ensad(*blend)


def _hundred(folder: Path) -> None:
    """Members that differ by their seeds, each with a column of made scores."""
    from ensemble_ad.members.save import save_member
    from ensemble_ad.members.store import list_members
    from ensemble_ad.training.recipe import Recipe

    reference, test, _ = made_scores(BLENDED_ROWS, BLENDED)
    _real(folder, trials=1)
    (real,), _ = list_members(folder / "studies")
    data = blake2b(test.tobytes(), digest_size=16).hexdigest()
    for number in range(BLENDED):
        recipe = Recipe.from_json(real.info.recipe.json)
        recipe = replace(recipe, data=data, training=replace(recipe.training, seed=number + 1))
        recipe_info = RecipeInfo.from_json(recipe.as_json())
        columns = [{real.main_column: side[:, number]} for side in (reference, test)]
        info = replace(real.info, key=recipe.key, recipe=recipe_info)
        save_member(folder / "studies", info, reference=columns[0], test=columns[1], weights={})
    shutil.rmtree(real.folder)


def _real(folder: Path, trials: int) -> None:
    """Members of scikit-learn's digits."""
    from ensemble_ad.data.digits import write_digits

    write_digits(folder / "data")
    tune = f"tune --family fcn --trials {trials} --epochs 20 --max-width 128 --no-prune --device cpu -q"
    _run("-m", "ensemble_ad", *tune.split(), folder=str(folder))


def _run(*arguments: str, folder: str | None = None) -> str:
    """What a Python process prints, of one thread where the environment does not say otherwise."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=environment).stdout


def copies(options: argparse.Namespace) -> Iterator[Row]:
    """How many copies of 1,000 members x 100,000 images are held."""
    for what in ("greedy", "auto", "median", "auc_many", "compare_to_best"):
        found = json.loads(_run(str(CHILD), "copies", str(options.rows), str(options.members), what))
        yield {"what": f"memory of {options.members:,} x {options.rows:,}: {what}", **found}


def cli(options: argparse.Namespace) -> list[Row]:
    """`ensad --help`, and `ensad compare` of 1,000 members: copies of real ones under the keys of other seeds."""
    with tempfile.TemporaryDirectory() as folder:
        _thousand(Path(folder))
        ensad = partial(_run, "-m", "ensemble_ad", folder=folder)
        ways = {
            "bare Python": partial(_run, "-c", "pass", folder=folder),
            "ensad --help": partial(ensad, "--help"),
            f"ensad compare, {COMPARED:,} members": partial(ensad, "compare"),
            f"ensad compare --format csv, {COMPARED:,} members": partial(ensad, "compare", "--format", "csv"),
        }
        return [{"what": name, **found} for name, found in costs(ways, options.repeats).items()]


def _thousand(folder: Path) -> None:
    from ensemble_ad.files.json_file import write_json
    from ensemble_ad.layout import MEMBER_INFO, VECTORS, WEIGHTS, member_folder
    from ensemble_ad.members.store import list_members
    from ensemble_ad.training.recipe import Recipe

    _real(folder, trials=3)
    real, _ = list_members(folder / "studies")
    for number in range(COMPARED - len(real)):
        source = real[number % len(real)]
        recipe = Recipe.from_json(source.info.recipe.json)
        recipe = replace(recipe, training=replace(recipe.training, seed=number + 1))
        copy = member_folder(folder / "studies", recipe.key)
        copy.mkdir()
        info = replace(source.info, key=recipe.key, recipe=RecipeInfo.from_json(recipe.as_json()))
        write_json(copy / MEMBER_INFO, info.to_json())
        for name in (VECTORS, WEIGHTS):
            (copy / name).hardlink_to(source.folder / name)
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
    return int(_run(str(CHILD.resolve()), "peak", *arguments, folder=folder).split()[-1])


def write_images(data: Path, n: int) -> None:
    """A contest's two files, uint8 (n, 64, 64, 3) and a fifth as many."""
    for name, count, seed in (("trainingset.npy", n, 0), ("testingset.npy", round(n * TEST_SHARE), 1)):
        opened = np.lib.format.open_memmap(data / name, mode="w+", dtype=np.uint8, shape=(count, SIDE, SIDE, 3))
        for start in range(0, count, 5000):
            opened[start : start + 5000] = crops(min(5000, count - start), seed=1000 * seed + start)


PARTS: dict[str, Callable[[argparse.Namespace], Iterable[Row]]] = {
    "preprocess": preprocess,
    "errors": errors,
    "blends": blends,
    "command": command,
    "copies": copies,
    "cli": cli,
    "study": study,
}


def printed(row: Row) -> str:
    """A row of the table: seconds of wall and processor where they were taken, and the row's own numbers."""
    cells = []
    for name in ("wall", "processor"):
        if name in row:
            cells.append(f"{name} {shown(row[name], '.3f')} s")
    for name, value in row.items():
        if isinstance(value, int | float):
            cells.append(f"{name.replace('_', ' ')} {value:,.4g}")
    return f"{row['what']:64}  {'; '.join(cells)}"


def main() -> None:
    """Measure what was asked for."""
    arguments = parser(__doc__, repeats=5, out=True)
    arguments.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    arguments.add_argument("--images", type=int, default=100_000, help="of the study")
    arguments.add_argument("--trials", type=int, default=2, help="of the study")
    arguments.add_argument("--rows", type=int, default=100_000, help="images of the scores whose copies are counted")
    arguments.add_argument("--members", type=int, default=1_000, help="members of these scores")
    options = arguments.parse_args()
    out = options.out or result_file("pipeline")
    chosen = options.only.split(",")
    # What is not measured now stays as it was measured last, each row under its own date and load.
    before = json.loads(out.read_text())["rows"] if out.exists() else []
    rows = [row for row in before if row["part"] not in chosen]
    for part in chosen:
        for row in PARTS[part](options):
            print(printed(row), flush=True)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            rows.append({"part": part, **row, "date": now, "load": round(os.getloadavg()[0], 1)})
        rows.sort(key=lambda row: list(PARTS).index(row["part"]))
        write(out, rows, command=" ".join(["python", *sys.argv]))
    print(f"written to {out}")


if __name__ == "__main__":
    main()
