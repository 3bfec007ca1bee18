"""Two users of one group share a studies' folder: what one of them began, the other goes on with."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

GROUP = 65_001
# Reading is allowed everywhere, since Python itself may lie in a folder that only root may look into; writing is not.
MAY = "-all,+dac_read_search"


@pytest.fixture
def place(digits_folder):
    """A folder that others may look into (pytest's own is closed to them), with images in `data`, and `shared`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(digits_folder, folder / "data").chmod(0o755)
        (folder / "shared").mkdir()
        os.chown(folder / "shared", -1, GROUP)
        (folder / "shared").chmod(0o2775)
        yield folder


@pytest.fixture
def run_as(place):
    """Runs `ensad` as a user of the group, with a umask, in a folder that belongs to the group."""

    def run(user: int, umask: int, command: str) -> None:
        who = [f"--reuid={user}", f"--regid={user}", f"--groups={GROUP}", f"--bounding-set={MAY}"]
        who += [f"--{kind}-caps={MAY}" for kind in ("inh", "ambient")]
        own = {"HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            ["setpriv", *who, sys.executable, "-m", "ensemble_ad", *command.split()],
            cwd=place / "shared",
            env={**os.environ, **own, "ENSAD_DATA": str(place / "data")},
            umask=umask,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr

    return run


STUDY = "tune --family fcn --epochs 1 --max-width 128 --device cpu -q --trials"
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root to be two other users"
)


def _modes(folder: Path) -> set[tuple[str, int]]:
    return {("folder" if path.is_dir() else "file", stat.S_IMODE(path.stat().st_mode)) for path in folder.rglob("*")}


@AS_ROOT
@pytest.mark.slow
def test_a_second_user_of_the_group_goes_on_with_a_study(run_as, place):
    for trials, user in enumerate((65_101, 65_102), start=1):
        for command in (
            f"{STUDY} {trials}",
            "blend --members fcn --name both" if trials == 1 else "compare",
            f"evaluate --labels {place}/data/labels.csv",
            "submit",
        ):
            run_as(user, 0o002, command)
    studies = place / "shared" / "studies"
    assert _modes(studies) == {("folder", 0o2775), ("file", 0o664)}
    assert {path.stat().st_gid for path in studies.rglob("*")} == {GROUP}
    assert len(list((studies / "members").iterdir())) == 2


@AS_ROOT
@pytest.mark.slow
def test_what_a_careful_user_makes_nobody_else_reads(run_as, place):
    run_as(65_101, 0o077, f"{STUDY} 1")
    assert _modes(place / "shared" / "studies") == {("folder", 0o2700), ("file", 0o600)}
