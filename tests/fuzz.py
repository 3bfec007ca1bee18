"""Fuzzing by the clock: archives, records and pictures are damaged, and given to the commands that read them.

    python tests/fuzz.py --minutes 30 --seed 1

An archive is signed again after it was damaged, so that what is wrong reaches the code behind the checksums. A record
is any JSON file, or array with its checksum, of a studies' folder. A picture is of any format that is taken. A command
has to end with a result or with one line; scores are finite; nothing is written where it should not be. What is
otherwise is printed with what was done, counted, and makes the exit code 1. `tests/test_parsers.py` does the same for
parsers on their own.
"""

import argparse
import collections
import io
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_sample_images

from ensemble_ad.blend.exported import MANIFEST
from ensemble_ad.cli import main
from ensemble_ad.data.conversion import Conversion
from ensemble_ad.data.digits import write_digits
from ensemble_ad.data.fit import FITS
from ensemble_ad.data.folders import FORMATS
from ensemble_ad.data.pictures import read_frames
from ensemble_ad.errors import DataError, EnsadError
from ensemble_ad.files.whole import file_hash

N_TRAIN, N_TEST = 200, 120
MOST_BYTES = 8 << 30  # of address space: what takes more than it should becomes a MemoryError
HANG = 120.0  # seconds of computing after which an input is given up
SLOW = 20.0  # seconds of computing after which an input is reported
HOSTILE: list[Any] = [
    1e308, -1e308, 1e99, -1, 0, 1, 2**53, 2**63, 10**400, 1e-308, 0.5, float("nan"), float("inf"), None, True, "",
    "x" * 400, "../x", "/etc/passwd", "a\x00b", "a\nb", "\ud800", "=1+1", "nul", [], {}, [1, 2], {"a": 1}, [[[]]],
    "fcn-0123456789ab", "ab" * 16, "rss", "fcn",
]  # fmt: skip
Rng = random.Random
Cli = Callable[..., str]


class Found(Exception):
    """What should not have been."""


def check(condition: object, what: str) -> None:
    """Raise `Found` unless `condition` holds."""
    if not condition:
        raise Found(what)


# Damage


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a JSON value; of a list only to the first three and the last."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in [*keys[:3], *keys[3:][-1:]] if isinstance(value, list) else keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def damage_json(rng: Rng, value: Any) -> str:
    """Replace, remove, or add one value; says which."""
    found = list(places(value))
    if not found:
        return "nothing"
    *way, last = rng.choice(found)
    inner = value
    for key in way:
        inner = inner[key]
    deed = rng.random()
    if deed < 0.15:
        del inner[last]
        return f"{[*way, last]} is gone"
    if deed < 0.25 and isinstance(inner, dict):
        new = rng.choice([h for h in HOSTILE if isinstance(h, str)])
        inner[new] = inner.pop(last)
        return f"{[*way, last]} is called {new[:20]!r}"
    if deed < 0.3 and isinstance(inner, list):
        inner.append(inner[last])
        return f"{[*way, last]} is there twice"
    inner[last] = rng.choice(HOSTILE)
    return f"{[*way, last]} is {str(inner[last])[:40]!r}"


def damage_array(rng: Rng, array: np.ndarray) -> tuple[np.ndarray, str]:
    """Give an array of other values, another shape or another dtype, and say how."""
    first = np.arange(array.size).reshape(array.shape) == 0
    deeds: dict[str, Callable[[], np.ndarray]] = {
        "nan": lambda: array * np.nan,
        "infinite": lambda: np.where(first, np.inf, array).astype(array.dtype),
        "huge": lambda: np.full(array.shape, 3e38).astype(array.dtype),
        "large": lambda: np.where(first, 1e30, array).astype(array.dtype),
        "tiny": lambda: array * 1e-42,
        "negative": lambda: -array,
        "zero": lambda: array * 0,
        "short": lambda: array[:-1],
        "long": lambda: np.concatenate([array, array]),
        "flat": array.ravel,
        "turned": lambda: array.T,
        "integers": lambda: array.astype(np.int64),
        "half precision": lambda: array.astype(np.float16),
        "scalar": lambda: array.ravel()[0],
        "text": lambda: array.astype(str),
        "complex": lambda: array.astype(complex),
        "permuted": lambda: np.random.default_rng(rng.randrange(99)).permutation(array),
    }
    deed = rng.choice(list(deeds))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return deeds[deed](), deed


def damage_npz(rng: Rng, content: bytes) -> tuple[bytes, str]:
    """Damage one of an .npz file's arrays, or the JSON that it holds."""
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    name = rng.choice(list(arrays))
    if arrays[name].dtype.kind == "U":
        value = json.loads(str(arrays[name]))
        what = damage_json(rng, value)
        arrays[name] = np.array(json.dumps(value))
    else:
        arrays[name], what = damage_array(rng, arrays[name])
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue(), f"{name}: {what}"


def damage_weights(rng: Rng, content: bytes) -> tuple[bytes, str]:
    """Damage one tensor of a model, or the bytes of its file."""
    from safetensors.numpy import load, save

    if rng.random() < 0.3:
        return damage_bytes(rng, content)
    tensors = load(content)
    name = rng.choice(sorted(tensors))
    tensor, what = damage_array(rng, tensors[name])
    if tensor.dtype.kind not in "fi":
        return damage_bytes(rng, content)
    return save({**tensors, name: np.ascontiguousarray(tensor)}), f"{name}: {what}"


def damage_bytes(rng: Rng, content: bytes) -> tuple[bytes, str]:
    """Flip, cut, repeat or overwrite bytes; half of the time near the beginning, where headers are."""
    data, deeds = bytearray(content), []
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(min(len(data), 64) if rng.random() < 0.5 else len(data)) if data else 0
        deed = rng.choice(["flip", "cut", "repeat", "drop", "number"])
        length = rng.choice([1, 2, 4, 8, 64])
        if deed == "flip" and data:
            data[at] ^= 1 << rng.randrange(8)
        elif deed == "cut":
            del data[at:]
        elif deed == "repeat":
            data[at:at] = data[at : at + length]
        elif deed == "drop":
            del data[at : at + length]
        else:
            data[at : at + length] = rng.choice([b"\xff", b"\x00", b"\x7f", b"\x80"]) * length
        deeds.append(f"{deed} {length} at {at}")
    return bytes(data), ", ".join(deeds)


def damage(rng: Rng, name: str, content: bytes) -> tuple[bytes, str]:
    """Damage a file by its kind."""
    if name.endswith(".json"):
        value = json.loads(content)
        what = damage_json(rng, value)
        return json.dumps(value).encode(), what
    kinds = {".npz": damage_npz, ".safetensors": damage_weights}
    return kinds.get(Path(name).suffix, damage_bytes)(rng, content)


# What is fuzzed


class Ground:
    """A folder with data, studies and an exported blend, all sound, and room for what is damaged.

    Attributes:
        base: the folder; all that is written has to lie in its `room`.
        data, studies, archive: what is sound.
        room: emptied before every input.
    """

    def __init__(self, base: Path) -> None:
        self.base, self.room = base, base / "room"
        self.data, self.studies, self.archive = base / "data", base / "studies", base / "both.zip"
        self.data.mkdir()
        write_digits(self.data)
        for name, n in (("trainingset.npy", N_TRAIN), ("testingset.npy", N_TEST)):
            np.save(self.data / name, np.load(self.data / name)[:n])
        for name in ("labels.csv", "sample_submission.csv"):
            lines = (self.data / name).read_text().splitlines(keepends=True)
            (self.data / name).write_text("".join(lines[: N_TEST + 1]))
        at = ("--studies", self.studies)
        small = ("--trials", 2, "--epochs", 1, "--device", "cpu", "--data", self.data, *at)
        self.run("tune", "--family", "fcn", "--max-width", 128, *small, sound=True)
        self.run("tune", "--family", "resnet", "--max-width", 8, *small, sound=True)
        self.run("blend", "--members", "fcn,resnet", "--name", "both", *at, sound=True)
        self.run("evaluate", "--labels", self.data / "labels.csv", "--data", self.data, *at, sound=True)
        self.run("export", "both", "-o", self.archive, *at, sound=True)
        self.images = load_sample_images().images
        np.save(base / "new.npy", np.load(self.data / "testingset.npy")[:5])
        self.run("score", self.data / "testingset.npy", *at, sound=True)  # which keeps what its threshold comes from
        self.sound = self.listing()

    def listing(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file that no input may change."""
        files = [p for p in self.base.rglob("*") if p.is_file() and self.room not in p.parents]
        return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}

    def run(self, *arguments: object, sound: bool = False) -> str:
        """Run a command: a result or one line; its stdout, "" where it ended with an error."""
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        check(result.exit_code in (0, 1, 2, 3, 4), f"exit code {result.exit_code}")
        check(result.exit_code == 0 or len(errors) == 1, f"{len(errors)} errors for exit code {result.exit_code}")
        check(all(len(line) < 2000 for line in result.stderr.splitlines()), f"a long line: {result.stderr[:300]}")
        check(not sound or result.exit_code == 0, result.stderr)
        return result.stdout if result.exit_code == 0 else ""

    def commands(self, rng: Rng, studies: Path) -> None:
        """Run two commands that read whatever lies in `studies`, and look at what they give."""
        here, room = ("--studies", studies), self.room
        labels, data, new = self.data / "labels.csv", ("--data", self.data), self.base / "new.npy"
        known: list[tuple[object, ...]] = [
            ("compare",), ("compare", "--format", "csv"), ("compare", "--failed", "--json"),
            ("evaluate", "--labels", labels, *data), ("audit", "--labels", labels, *data),
            ("submit", "--submissions", room / "out", *data), ("blend", "--members", "fcn", "--name", "again"),
            ("blend", "--method", "mean", "--json"), ("report", "--pictures", 0, "-o", room / "r.html", *data),
            ("report", "-o", room / "r.html", *data), ("export", "both", "-o", room / "out.zip"),
            ("data", "check", *data), ("latent", "-o", room / "l.html", *data),
            ("tune", "--family", "fcn", "--trials", 3, "--epochs", 1, "--max-width", 128, "--device", "cpu", *data),
        ]  # fmt: skip
        scoring: tuple[object, ...] = ("score", new, "-o", room / "s.csv")
        for command in (scoring, *rng.sample(known, 2)):
            out = self.run(*command, *here)
            check("nan" not in out.lower().split(","), f"nan in what {command[0]} prints")
        if (room / "s.csv").exists():
            text = (room / "s.csv").read_text().splitlines()[1:]
            check(len(text) == 5, f"{len(text)} scores of 5 images")
            check(np.isfinite([float(line.split(",")[1]) for line in text]).all(), f"scores {text}")


def archives(rng: Rng, ground: Ground) -> tuple[str, str]:
    """An archive whose files are damaged and whose list of checksums is right."""
    with zipfile.ZipFile(ground.archive) as file:
        content = {name: file.read(name) for name in file.namelist()}
    what = []
    for name in rng.sample(sorted(content), rng.choice([1, 1, 1, 2])):
        content[name], deed = damage(rng, name, content[name])
        what.append(f"{name} {deed}")
        _sign_record(ground.room, content, name)
    _sign_list(ground.room, content, renamed=rng.choice(sorted(content)) if rng.random() < 0.05 else None, rng=rng)
    with zipfile.ZipFile(ground.room / "bad.zip", "w") as file:
        for name, value in content.items():
            file.writestr(name, value)
    away = ground.room / "away"
    told = ground.run("import", ground.room / "bad.zip", "--studies", away, "--json")
    if not told:
        left = [path for path in away.rglob("*") if path.is_file()]
        check(not left, f"a refused archive leaves {left}")
        return "refused", "; ".join(what)
    _then(ground, rng, away, what)
    return "taken", "; ".join(what)


def _then(ground: Ground, rng: Rng, studies: Path, what: list[str]) -> None:
    try:
        ground.commands(rng, studies)
    except Exception as error:
        error.add_note("; ".join(what))
        raise


def _hash(room: Path, content: bytes) -> str:
    (room / "scratch").write_bytes(content)
    return file_hash(room / "scratch")


def _sign_record(room: Path, content: dict[str, bytes], name: str) -> None:
    """Write the checksum of a damaged array or model into the record that has it, as far as that is sound."""
    record = "blend.json" if name == "scores.npz" else f"{Path(name).stem}.json"
    if name.endswith(".json") or record not in content:
        return
    value, checksum = json.loads(content[record]), _hash(room, content[name])
    if name == "scores.npz" and isinstance(value, dict):
        value["checksum"] = checksum
    elif isinstance(value, dict) and isinstance(value.get("checksums"), dict):
        value["checksums"][{".npz": "vectors.npz"}.get(Path(name).suffix, "weights.safetensors")] = checksum
    content[record] = json.dumps(value).encode()


def _sign_list(room: Path, content: dict[str, bytes], *, renamed: str | None, rng: Rng) -> None:
    """Write sizes and checksums into an archive's manifest, as far as that is sound; now and then rename a file."""
    if renamed is not None:
        new = rng.choice(["../x.json", "/x.json", "fcn-0123456789ab.json", "FCN-0123456789ab.json", "a/b.json"])
        content[new] = content.pop(renamed)
    if MANIFEST not in content:
        return
    manifest = json.loads(content[MANIFEST])
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return
    files = manifest["files"]
    for name in content.keys() - {MANIFEST}:
        if name in files or renamed is not None:
            files[name] = {"size": len(content[name]), "checksum": _hash(room, content[name])}
    content[MANIFEST] = json.dumps(manifest).encode()


def records(rng: Rng, ground: Ground) -> tuple[str, str]:
    """A studies' folder in which one or two records, arrays or models are damaged and signed again."""
    studies = Path(shutil.copytree(ground.studies, ground.room / "studies"))
    files = [path for path in sorted(studies.rglob("*")) if path.suffix in (".json", ".npz", ".safetensors")]
    what = []
    for path in rng.sample([p for p in files if p.suffix == ".json" or rng.random() < 0.3], rng.choice([1, 1, 2])):
        content, deed = damage(rng, path.name, path.read_bytes())
        path.write_bytes(content)
        what.append(f"{path.relative_to(studies)} {deed}")
        owner = path.with_name("blend.json" if path.name == "scores.npz" else "member.json")
        value = json.loads(owner.read_bytes()) if owner.exists() and path.suffix != ".json" else None
        if isinstance(value, dict):
            if path.name == "scores.npz":
                value["checksum"] = file_hash(path)
            elif isinstance(value.get("checksums"), dict):
                value["checksums"][path.name] = file_hash(path)
            owner.write_text(json.dumps(value))
    _then(ground, rng, studies, what)
    return "read", "; ".join(what)


MODES = ("L", "RGB", "RGBA", "LA", "P", "1", "I;16", "CMYK", "YCbCr", "F")


def _a_picture(rng: Rng, ground: Ground) -> tuple[bytes, str]:
    """A sound picture of a random format and mode, 1 to 40 pixels a side; now and then of several pages."""
    image = ground.images[rng.randrange(2)]
    height, width = (16, 16) if rng.random() < 0.5 else (rng.randrange(1, 41), rng.randrange(1, 41))
    top, left = rng.randrange(image.shape[0] - height), rng.randrange(image.shape[1] - width)
    crop = Image.fromarray(image[top : top + height, left : left + width])
    while True:
        kind, mode, out = rng.choice(FORMATS), rng.choice(MODES), io.BytesIO()
        try:
            made = crop.convert("I").convert("I;16") if mode == "I;16" else crop.convert(mode)
            several = {"save_all": True, "append_images": [made] * 2} if rng.random() < 0.2 else {}
            made.save(out, kind, **several)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return out.getvalue(), f"{kind} {mode}{' of three pages' if several else ''}"


def pictures(rng: Rng, ground: Ground) -> tuple[str, str]:
    """Damaged pictures: read one by one, and now and then a folder of them beside sound ones."""
    what, taken = [], False
    for place in ("train", "test"):
        (ground.room / "folders" / place).mkdir(parents=True)
    for number in range(8):
        content, kind = _a_picture(rng, ground)
        content, deed = damage_bytes(rng, content)
        ending = rng.choice([".png", ".jpg", ".tif", ".gif", ".webp", ".ico", ".bmp", ""])
        path = ground.room / "folders" / ("test" if number % 2 else "train") / f"{number}{ending}"
        path.write_bytes(content)
        what.append(f"{path.name} {kind}: {deed}")
        try:
            for picture in read_frames(path):
                check(picture.dtype.kind in "uif" and picture.ndim in (2, 3), f"{picture.dtype} {picture.shape}")
                levels = None if picture.dtype == np.uint8 else (0.0, 200.0)
                image = Conversion(fit=rng.choice(FITS), side=32, levels=levels).image(picture, path.name)
                check(image.dtype == np.uint8 and image.shape[:2] == (32, 32), f"{image.dtype} {image.shape}")
            taken = True
        except DataError as error:
            check("\n" not in str(error) and len(str(error)) < 1000, str(error))
        except EnsadError:
            raise
        except Exception as error:
            error.add_note("; ".join(what))
            raise
    if rng.random() < 0.2:
        if rng.random() < 0.3:
            _write_array(rng, ground, what)
        _folders(ground, what)
    return "read" if taken else "refused", "; ".join(what)


def _write_array(rng: Rng, ground: Ground, what: list[str]) -> None:
    """An array of training pictures, which need not be square nor of 8 bits, and is damaged now and then."""
    array = ground.images[rng.randrange(2)][: rng.randrange(1, 40), : rng.randrange(1, 40)]
    array, deed = np.stack([array] * 50).astype(rng.choice([np.uint8, np.uint16, np.float32, np.float64])), "sound"
    if rng.random() < 0.5:
        array, deed = damage_array(rng, array)
    np.save(ground.room / "folders" / "trainingset.npy", array)
    what.append(f"trainingset.npy {array.dtype} {array.shape}: {deed}")


def _folders(ground: Ground, what: list[str]) -> None:
    """Check and score the folders of damaged pictures."""
    try:
        options = ("--data", ground.room / "folders", "--studies", ground.room / "studies", "--fit", "squash")
        ground.run("data", "check", *options)
        ground.run("score", ground.room / "folders", "-o", ground.room / "s.csv", "--studies", ground.studies)
    except Exception as error:
        error.add_note("; ".join(what))
        raise


KINDS = {"archives": archives, "records": records, "pictures": pictures}


def fuzz(ground: Ground, *, seconds: float, seed: int, kinds: list[str]) -> collections.Counter[str]:
    """Try inputs in turn until the time is over; count what came of them."""
    counts: collections.Counter[str] = collections.Counter()
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        kind, number = kinds[number % len(kinds)], number + 1
        shutil.rmtree(ground.room, ignore_errors=True)
        ground.room.mkdir()
        signal.setitimer(signal.ITIMER_PROF, HANG)
        began, rng = time.process_time(), Rng(f"{seed} {number}")
        try:
            outcome, what = KINDS[kind](rng, ground)
            now = ground.listing()
            check(now == ground.sound, f"files were changed: {set(now.items()) ^ set(ground.sound.items())}")
            took = time.process_time() - began
            if took > SLOW:
                print(f"SLOW input {number} of {kind}, {took:.0f} s: {what}", flush=True)
        except Exception as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            outcome = "FAILED"
            print(f"FAILED input {number} of {kind}: {getattr(error, '__notes__', '')}", flush=True)
            traceback.print_exception(error, limit=-4, file=sys.stdout)
        counts[f"{kind} {outcome}"] += 1
    return counts


def _hangs(*_: object) -> None:
    raise Found(f"more than {HANG:.0f} seconds")


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--minutes", type=float, default=30.0)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    return made.parse_args()


def run() -> int:
    """The command; 1 if anything failed."""
    given = _arguments()
    signal.signal(signal.SIGPROF, _hangs)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    warnings.simplefilter("error", RuntimeWarning)  # numpy's, of numbers that were not bounded
    with tempfile.TemporaryDirectory(prefix="ensad-fuzz-") as folder:
        counts = fuzz(Ground(Path(folder)), seconds=60 * given.minutes, seed=given.seed, kinds=given.kinds)
    for name, count in sorted(counts.items()):
        print(f"{count:7} {name}")
    return int(any(name.endswith("FAILED") for name in counts))


if __name__ == "__main__":
    sys.exit(run())
