"""The notebook runs from top to bottom, and is stored without outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
NOTEBOOK = Path(__file__).parents[2] / "docs" / "quickstart.ipynb"


@pytest.mark.slow
def test_quickstart_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    nbformat.write(notebook, tmp_path / "run.ipynb")
    same = next(cell for cell in notebook.cells if "torch.equal" in cell.source)
    assert same.outputs[-1].data["text/plain"].startswith("(True,")
