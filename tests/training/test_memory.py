"""A study holds the images once, memory-mapped, whatever their number."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ensemble_ad.data.images import blocks, give_back
from ensemble_ad.data.npy import open_array

SIDE = 32


def _write(data: Path, pixels: np.ndarray, n: int) -> int:
    data.mkdir(parents=True)
    for name, count in (("trainingset.npy", n), ("testingset.npy", 400)):
        # Other tints of the same crops: no two alike.
        tints = np.random.default_rng(count).uniform(0.5, 1, (count, 1, 1, 3)).astype(np.float16)
        rows = np.arange(count) % len(pixels)
        np.save(data / name, (pixels[rows] * tints).astype(np.uint8))
    return sum(file.stat().st_size for file in data.iterdir())


_STUDY = """
import sys
from pathlib import Path
from ensemble_ad.cli import main
main(sys.argv[1:], standalone_mode=False)
# Not ru_maxrss, which begins with what the parent had when it started this process.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024)
"""


def _peak(folder: Path) -> int:
    """Bytes that a study has resident at most; mapped files that it has looked at count."""
    study = "tune --family fcn --max-width 128 --trials 1 --epochs 1 --objective separation --device cpu -q"
    command = [sys.executable, "-c", _STUDY, *study.split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return int(subprocess.check_output(command, cwd=folder, env=environment, text=True).split()[-1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to see what is resident")
@pytest.mark.slow
def test_a_study_takes_the_size_of_its_images_and_less_than_a_gigabyte(tmp_path, photos):
    pixels = photos(500, SIDE, 3)
    sizes = {n: _write(tmp_path / str(n) / "data", pixels, n) for n in (4_000, 40_000)}
    peaks = {n: _peak(tmp_path / str(n)) for n in sizes}
    grown, more = peaks[40_000] - peaks[4_000], sizes[40_000] - sizes[4_000]
    # The held-out images are copied, an eighth of the smaller set's and less of a larger one's; half is room for them.
    assert grown < 1.5 * more
    for n, size in sizes.items():
        assert peaks[n] < size + 1e9


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to see what is resident")
def test_what_was_read_of_a_map_is_given_back(tmp_path, photos):
    path = tmp_path / "many.npy"
    np.save(path, np.tile(photos(50, 64, 3), (100, 1, 1, 1)))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    images = open_array(path)
    before = resident()
    total = int(images.sum(dtype=np.int64))
    assert resident() - before > 0.8 * images.nbytes
    give_back(images)
    assert resident() - before < 0.2 * images.nbytes
    assert sum(int(block.sum(dtype=np.int64)) for block in blocks(images)) == total
    assert resident() - before < 0.2 * images.nbytes


def test_what_can_be_written_to_is_never_given_back(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 16, 16, 1), dtype=np.uint8))
    private = np.load(path, mmap_mode="c")
    private[:] = 7
    give_back(private)
    give_back(np.zeros((2, 16, 16, 1), dtype=np.uint8))
    assert private.min() == 7


_SOLVE = """
import sys
from pathlib import Path
import torch
from ensemble_ad.families import preset
from ensemble_ad.training.allocator import give_back_freed_memory
from ensemble_ad.training.loop import train
from ensemble_ad.training.settings import TrainSettings

def megabytes(name):
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) / 1024

images = torch.randint(0, 256, (int(sys.argv[2]), 64, 64, 1), dtype=torch.uint8)
architecture = preset(sys.argv[1])[1].architecture
before = 0.0
def solved(n):
    global before
    give_back_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = megabytes("VmRSS")
    train(lambda: architecture.build((1, 64, 64)), images, torch.arange(n), TrainSettings(epochs=1))
    return megabytes("VmHWM") - before
print(solved(500), solved(len(images)))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to see what is resident")
@pytest.mark.parametrize("name", ["pca-10", "inpaint-gauss"])
def test_what_is_solved_in_closed_form_holds_a_batch_at_a_time(name):
    n = 12_000
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = subprocess.check_output([sys.executable, "-c", _SOLVE, name, str(n)], env=environment, text=True)
    few, many = map(float, said.split())
    # As floats all images take 197 MB, and a copy of them as much again; the heap grows by 64 MB at a time.
    assert many - few < 150, said
