"""The notebooks, run from the first cell to the last as a reader does."""

from __future__ import annotations

import nbformat
import pytest

from tests.examples.conftest import ROOT

FOLDER = ROOT / "examples"
NAMES = ("first_run.ipynb", "library_and_calculator.ipynb")


def execute(name, folder):
    from nbclient import NotebookClient

    notebook = nbformat.read(FOLDER / name, as_version=4)
    # a cell that raises fails the test; the kernel has the environment of this process
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    images = [o for o in outputs if "image/png" in o.get("data", {})]
    return text, images


def test_every_notebook_is_listed_and_clean():
    assert sorted(path.name for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)
    for name in NAMES:
        assert f"`{name}`" in (FOLDER / "README.md").read_text()
        notebook = nbformat.read(FOLDER / name, as_version=4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            assert not cell.get("outputs"), f"{name}: commit it without outputs"


def execute_here(name, capsys):
    """Run the cells one after the other in this process: a kernel would import all anew."""
    import matplotlib.pyplot as plt

    names: dict = {"__name__": "__main__"}
    capsys.readouterr()
    with plt.rc_context({"backend": "agg"}):
        for cell in nbformat.read(FOLDER / name, as_version=4).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{name}: {cell.id}", "exec"), names)
        drawn = [plt.figure(number) for number in plt.get_fignums()]
        images = [figure for figure in drawn if any(axes.lines for axes in figure.axes)]
        plt.close("all")
    return capsys.readouterr().out, images


def check(run):
    text, images = run(NAMES[0])
    assert "closing block" in text
    assert "audits within 100 meV" in text
    assert len(images) == 1
    model_id = text.split(":")[0].split()[-1]
    text, images = run(NAMES[1])
    assert model_id in text
    assert "beyond the threshold with probability" in text
    assert "Ag" in text.splitlines()[-1]
    assert len(images) == 1


def test_first_run_then_library(machine, capsys):
    check(lambda name: execute_here(name, capsys))


@pytest.mark.slow
def test_first_run_then_library_in_a_kernel(machine):
    pytest.importorskip("ipykernel")
    check(lambda name: execute(name, machine))
