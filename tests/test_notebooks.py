"""The notebooks run from the first cell to the last, on small data."""

import os
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What stands in the place of the cell that a reader is to change.
SMALL = {
    "contest": 'DATA = "data"\nBUDGET = {"trials": 2, "families": ["pca"]}',
    "lab": (
        "import numpy as np\n"
        'GOOD, NEW = np.load("data/trainingset.npy"), np.load("data/testingset.npy")[:50]\n'
        'BUDGET = {"trials": 2, "families": ["pca"]}'
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_is(path, tmp_path, data, monkeypatch):
    script = tmp_path / "bin" / "ensad"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ensemble_ad "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    (changed,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    changed.source = SMALL[path.stem]
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds
    said = "".join(output.get("text", "") for output in shown)
    assert "Error" not in said, said
    if path.stem == "contest":
        (csv,) = (tmp_path / "submissions").glob("*.csv")
        assert len(csv.read_text().splitlines()) == 1 + len(np.load(data / "testingset.npy"))
    else:
        assert "alarms of 50" in said


def test_the_notebooks_are_kept_without_what_they_printed():
    assert [path.stem for path in NOTEBOOKS] == ["contest", "lab"]
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(not cell.outputs and cell.execution_count is None for cell in code)
