"""Real images and real studies: what the tests stand on is made by the same code that a user runs."""

import gc
import os
import shutil
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from filelock import FileLock
from hypothesis import settings
from PIL import Image
from sklearn.datasets import load_digits

from ensemble_ad.cli import main
from ensemble_ad.data.digits import write_digits
from ensemble_ad.data.images import Images
from ensemble_ad.detect.scorer import BlendScorer, load_blend

N_TRAIN, N_TEST = 200, 120
# How long an example takes says how busy the machine is.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
# For `tests/test_parsers.py`, which has the command.
settings.register_profile("fuzz", max_examples=8_000, deadline=None, print_blob=True)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """So that what a test draws does not depend on which tests its worker process ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """A folder that lasts the whole run and that all worker processes have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def _made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, filled by whichever worker process comes first."""
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def photos() -> Callable[[int, int, int], np.ndarray]:
    """Gives `n` different crops of scikit-learn's two photographs, uint8 (n, side, side, channels)."""
    from sklearn.datasets import load_sample_images

    pictures = load_sample_images().images

    def crops(n: int, side: int, channels: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        result = []
        for i in range(n):
            picture = pictures[i % 2]
            top, left = (rng.integers(0, edge - side + 1) for edge in picture.shape[:2])
            result.append(picture[top : top + side, left : left + side, :channels])
        return np.stack(result)

    return crops


@pytest.fixture(scope="session")
def digits_folder(shared_folder) -> Path:
    """The first 200 and 120 of the demo's digits in Kaggle's layout, with labels; for reading only."""

    def make(folder: Path) -> None:
        write_digits(folder)
        for name, n in (("trainingset.npy", N_TRAIN), ("testingset.npy", N_TEST)):
            np.save(folder / name, np.load(folder / name)[:n])
        for name in ("labels.csv", "sample_submission.csv"):
            lines = (folder / name).read_text().splitlines(keepends=True)
            (folder / name).write_text("".join(lines[: N_TEST + 1]))

    return _made_once(shared_folder / "digits", make)


@pytest.fixture(scope="session")
def parts_folder(shared_folder) -> Path:
    """Digits as pictures in MVTec's layout: `train/good`, `test/good`, `test/blot` with masks, `test/seven`.

    Of each blot, 12 x 12 pixels are another digit's. For reading only.
    """

    def make(folder: Path) -> None:
        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
        normal, other = images[digits.target < 5], images[digits.target == 7]
        blots, masks = normal[260:290].copy(), np.zeros((30, 32, 32), dtype=np.uint8)
        for row in range(30):
            top, left = 2 + row % 18, 18 - row % 18
            blots[row, top : top + 12, left : left + 12] = other[row, top : top + 12, left : left + 12]
            masks[row, top : top + 12, left : left + 12] = 255
        for place, some, ending in (
            ("train/good", normal[:200], ""),
            ("test/good", normal[200:260], ""),
            ("test/blot", blots, ""),
            ("test/seven", other[30:60], ""),
            ("ground_truth/blot", masks, "_mask"),
        ):
            (folder / place).mkdir(parents=True)
            for row, image in enumerate(some):
                Image.fromarray(image).save(folder / place / f"{row:03}{ending}.png")

    return _made_once(shared_folder / "parts", make)


@pytest.fixture
def parts(tmp_path, parts_folder) -> Path:
    """A folder of pictures in MVTec's layout of one's own, at `data`."""
    return Path(shutil.copytree(parts_folder, tmp_path / "data"))


@pytest.fixture(scope="session")
def studies_folder(shared_folder, digits_folder) -> Path:
    """Two trials of fcn, two of resnet and a blend of them, by the real commands; for reading only."""

    def make(folder: Path) -> None:
        for command in (
            "tune --family fcn --trials 2 --epochs 1 --max-width 128 --device cpu --data {data}",
            "tune --family resnet --trials 2 --epochs 1 --max-width 8 --device cpu --data {data}",
            "blend --members fcn,resnet --name both",
        ):
            arguments = command.format(data=digits_folder).split()
            result = CliRunner().invoke(main, [*arguments, "--studies", str(folder)], catch_exceptions=False)
            assert result.exit_code == 0, result.output

    return _made_once(shared_folder / "studies", make)


@pytest.fixture(scope="module")
def images(digits_folder) -> Images:
    """The digits' test images, uint8 (120, 32, 32, 1)."""
    return np.load(digits_folder / "testingset.npy")


@pytest.fixture(scope="module")
def scorer(studies_folder) -> BlendScorer:
    """What scores new images by the blend `both`."""
    return load_blend("both", studies_folder, device="cpu")


@pytest.fixture
def data(tmp_path, digits_folder) -> Path:
    """A Kaggle-layout folder of one's own, at `data`, where a command finds it without a flag."""
    return Path(shutil.copytree(digits_folder, tmp_path / "data"))


@pytest.fixture
def studies(tmp_path, studies_folder) -> Path:
    """A studies folder of one's own, at `studies`, with four members and the blend `both`."""
    return Path(shutil.copytree(studies_folder, tmp_path / "studies"))


@pytest.fixture
def run_ensad(tmp_path, monkeypatch) -> Callable[..., Result]:
    """Runs `ensad` in `tmp_path`, without the caller's ENSAD_ variables; no command may end in a traceback."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("ENSAD_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object, **environment: str) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """As it is in a terminal; in the background of a shell it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def peak_bytes() -> Callable[[Callable[[], object]], int]:
    """Gives the most bytes that a call had allocated at any time."""

    def peak(call: Callable[[], object]) -> int:
        gc.collect()
        tracemalloc.start()
        try:
            call()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return peak
