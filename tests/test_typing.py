"""What a program that imports the package is told by a type checker: real types, no `Any` in disguise."""

import inspect
import os
import subprocess
import sys
import sysconfig
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from matplotlib.figure import Figure

import ensemble_ad as ea
from ensemble_ad.detect.timed import TimedBlend

ROOT = Path(ea.__file__).parent.parent

RIGHT = """
from typing import assert_type

import numpy as np
import numpy.typing as npt
import pandas as pd

import ensemble_ad as ea

rng = np.random.default_rng(0)
reference, test, label = rng.normal(size=(50, 3)), rng.normal(size=(80, 3)), rng.integers(0, 2, 80)

blend = ea.blend_scores(reference, test)
assert_type(blend, ea.Blend)
assert_type(blend.scores, npt.NDArray[np.float64])
assert_type(blend.score(test), npt.NDArray[np.float64])
assert_type(blend.names, tuple[str, ...])
assert blend.separation is not None
assert_type(blend.separation.value, float)

estimate = ea.auc(label, blend.scores)
assert_type(estimate, ea.Estimate)
assert_type(estimate.low, float)
assert_type(ea.compare_auc(label, test[:, 0], test[:, 1]).p_value, float)
assert_type(ea.separation(reference[:, 0], test[:, 0]).standard_error, float)
assert_type(ea.comparison("studies"), pd.DataFrame)

scorer = ea.load_blend("both")
assert_type(scorer, ea.BlendScorer)
assert_type(scorer.score(np.zeros((2, 32, 32), dtype=np.uint8)), npt.NDArray[np.float64])
assert_type(scorer.threshold(0.01), float)

images = np.zeros((100, 16, 16), dtype=np.uint8)
detector = ea.AutoencoderDetector("pca-10", epochs=3, training={"batch_size": 16}).fit(images)
assert_type(detector, ea.AutoencoderDetector)
assert_type(detector.predict(images), npt.NDArray[np.int64])
assert_type(detector.score_samples(images), npt.NDArray[np.float64])
assert_type(detector.get_params(), dict[str, object])
assert_type(detector.set_params(epochs=2), ea.AutoencoderDetector)
blended = ea.BlendedDetector(["fcn", ("pca", detector)]).fit(images, unlabelled=images)
assert_type(blended, ea.BlendedDetector)
assert_type(blended.fit_predict(images), npt.NDArray[np.int64])
assert_type(blended.blend_.weights, npt.NDArray[np.float64])
try:
    ea.auc([0, 0], [1, 2])
except ea.DataError as error:
    assert_type(error.exit_code, int)
"""

WRONG = """
import numpy as np

import ensemble_ad as ea

ea.AutoencoderDetector(famly="fcn")
ea.AutoencoderDetector("fcn").fit(np.zeros(3)).nothing
ea.BlendedDetector(["fcn"]).scores_samples
ea.blend_scores([[1.0]], [[1.0]], metod="mean")
ea.load_blend(3)
ea.auc([0, 1], [0.1, 0.2]).vlaue
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A Python that has the package among its installed ones, where only `py.typed` makes its types count."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    (site / "packages.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    return python


def _checked(installed: Path, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(text)
    # The project's own settings are strict, and the cache that `make types` has filled spares half a minute.
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        [*command, "--python-executable", installed, "--cache-dir", ROOT / ".mypy_cache", "script.py"],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "", "MYPYPATH": ""},
    )  # fmt: skip


@pytest.mark.slow
def test_a_script_is_checked_strictly_against_what_py_typed_promises(installed, tmp_path):
    done = _checked(installed, tmp_path, RIGHT)
    assert done.returncode == 0, done.stdout + done.stderr
    done = _checked(installed, tmp_path, WRONG)
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    first = WRONG.splitlines().index('ea.AutoencoderDetector(famly="fcn")') + 1
    assert [int(line.split(":")[1]) for line in lines] == list(range(first, first + 6)), done.stdout


def _has_any(kind: object) -> bool:
    """Whether `Any` stands in a type; what numpy itself leaves open (shapes, what can become an array) aside."""
    if kind is typing.Any:
        return True
    if typing.get_origin(kind) is np.ndarray:
        return any(map(_has_any, typing.get_args(typing.get_args(kind)[1])))
    if kind == npt.ArrayLike:
        return False
    parts = typing.get_args(kind)
    if set(typing.get_args(npt.ArrayLike)) <= set(parts):
        parts = tuple(part for part in parts if part not in typing.get_args(npt.ArrayLike))
    return any(_has_any(part) for part in parts if not isinstance(part, str | int | list))


def _hints(thing: object) -> dict[str, object]:
    for_types_only = {"pd": pd, "Figure": Figure, "TimedBlend": TimedBlend}
    return typing.get_type_hints(thing, localns=for_types_only)


def _signatures(name: str, thing: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Annotations of a function, or of a class' public methods, properties and attributes, those of its bases too."""
    if inspect.isclass(thing):
        yield name, {key: kind for key, kind in _hints(thing).items() if not key.startswith("_")}
        for base in thing.__mro__:
            if base.__module__.startswith("ensemble_ad"):
                for key, method in vars(base).items():
                    inner = getattr(method, "fget", None) or getattr(method, "func", None) or method
                    inner = getattr(inner, "__func__", inner)
                    if inspect.isfunction(inner) and (not key.startswith("_") or key == "__init__"):
                        yield f"{name}.{key}", _hints(inner)
    elif inspect.isfunction(thing):
        yield name, _hints(thing)


@pytest.mark.parametrize("name", ea.__all__)
def test_no_public_signature_holds_any(name):
    for where, hints in _signatures(name, getattr(ea, name)):
        for key, kind in hints.items():
            assert not _has_any(kind), f"{where}: {key}"


def test_the_search_for_any_finds_it():
    assert _has_any(dict[str, typing.Any])
    assert _has_any(npt.NDArray[typing.Any] | None)
    assert not _has_any(npt.NDArray[np.float64] | None)
    assert not _has_any(npt.ArrayLike | None)
