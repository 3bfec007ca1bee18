"""What maintainers rely on: one version and list of extras everywhere, a whole wheel, figures that have a page."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ensemble_ad.cli import main
from ensemble_ad.extras import EXTRAS, how_to_install
from ensemble_ad.version import __version__

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKE = (ROOT / "Makefile").read_text(encoding="utf-8")


def _yaml(path: str):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_what_errors_say_to_install_is_what_the_extras_hold():
    declared = PROJECT["optional-dependencies"]
    assert {name: [needed] for name, needed in EXTRAS.items()} == {name: declared[name] for name in EXTRAS}
    assert set(declared) == {*EXTRAS, "docs", "dev"}
    assert how_to_install("postgres") == "pip install 'psycopg[binary]>=3.2'"


def test_nothing_tells_to_install_the_package_from_a_registry():
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", *(ROOT / "ensemble_ad").rglob("*.py")]
    for page in pages:
        assert "install 'ensemble-ad" not in page.read_text(encoding="utf-8"), page.name


def test_the_version_is_the_same_everywhere():
    assert _yaml("CITATION.cff")["version"] == __version__
    assert CliRunner().invoke(main, ["--version"]).output.split()[-1] == __version__


def test_what_is_constrained_is_what_is_declared():
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (each for group in groups for each in group):
        name = re.match(r"[A-Za-z0-9-]+", requirement)
        assert name is not None
        assert name[0].lower() in {*pinned, "ensemble-ad"}, requirement


def test_the_workflow_runs_targets_that_exist_on_every_supported_python():
    jobs = _yaml(".github/workflows/ci.yml")["jobs"]
    supported = [text.split()[-1] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)]
    assert jobs["test"]["strategy"]["matrix"]["python"] == supported
    ran = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert len(ran) == 4
    for command in ran:
        target = re.fullmatch(r"make ([a-z-]+)", command)
        assert target is not None, command
        assert re.search(rf"^{target[1]}:", MAKE, re.MULTILINE), command


def test_make_help_lists_every_target():
    done = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = re.search(r"^\.PHONY: (.*)$", MAKE, re.MULTILINE)
    assert phony is not None
    assert {line.split()[1] for line in done.stdout.splitlines()} == set(phony[1].split())


def test_pre_commit_runs_what_make_installs():
    (repo,) = _yaml(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert {hook["entry"].split()[0] for hook in repo["hooks"]} == {".venv/bin/ruff", ".venv/bin/mypy"}


def test_every_number_of_the_readme_stands_on_a_benchmarks_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "benchmarks").glob("*.md"))
    numbers = set(re.findall(r"\b0\.\d{3}\b", readme))
    assert len(numbers) > 10
    assert [number for number in sorted(numbers) if number not in pages] == []


def test_the_readme_is_short_and_its_links_lead_somewhere():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) < 100
    for target in re.findall(r"\]\(([^)#]+)\)", readme):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel that `make dist` builds, by the backend that is installed here."""
    folder = tmp_path_factory.mktemp("dist")
    build = "import sys; from hatchling.build import build_wheel, build_editable; "
    build += "build_wheel(sys.argv[1]); build_editable(sys.argv[2])"
    subprocess.run([sys.executable, "-c", build, folder, folder / "editable"], cwd=ROOT, check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "ensemble_ad").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"ensemble_ad/py.typed", "ensemble_ad/results/page/template/page.html"} <= listed
    assert {name for name in names if not name.startswith("ensemble_ad-")} == listed


def test_an_editable_install_is_a_path_that_type_checkers_follow(wheel):
    archive = zipfile.ZipFile(next((wheel.parent / "editable").glob("*.whl")))
    (path,) = (name for name in archive.namelist() if name.endswith(".pth"))
    assert archive.read(path).decode().strip() == str(ROOT)
