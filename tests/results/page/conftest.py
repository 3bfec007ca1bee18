"""One report with labels, which the tests of its parts read."""

import pytest

from ensemble_ad.blend.saved import load_blend
from ensemble_ad.files.id_table import read_labels
from ensemble_ad.members.store import list_members
from ensemble_ad.results.page import Sources, collect


@pytest.fixture(scope="session")
def label(digits_folder):
    return read_labels(digits_folder / "labels.csv", [str(i) for i in range(120)])


@pytest.fixture(scope="session")
def members(studies_folder):
    return {member.key: member for member in list_members(studies_folder)[0]}


@pytest.fixture(scope="session")
def contents(studies_folder, digits_folder):
    """A report of the blend `both` with labels."""
    sources = Sources(
        studies=studies_folder, data=digits_folder, labels=digits_folder / "labels.csv", pictures=3, device="cpu"
    )
    return collect(load_blend(studies_folder, "both"), sources)


@pytest.fixture(scope="session")
def main(members):
    """Each member's main column of the test images."""
    return {key: m.vectors()[1][:, m.columns.index(m.main_column)].astype(float) for key, m in members.items()}


@pytest.fixture
def report(run_ensad, tmp_path):
    """Runs `ensad report`; gives the page's text and what the command said on stderr."""

    def run(*arguments):
        result = run_ensad("report", "-q", *arguments)
        assert result.exit_code == 0, result.output
        return (tmp_path / result.stdout.strip()).read_text(encoding="utf-8"), result.stderr

    return run
