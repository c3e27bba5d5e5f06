"""Execute examples/notebooks/*.ipynb and save them with their outputs.

    python -m docs.site_builder.notebooks [NAME ...]

Each runs in a kernel of its own, in an empty folder, with the package of this checkout. The time of each cell and
the like are not saved. pandas is found in .venv/frames, where tests/run.sh puts it, or where this Python finds it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

from docs.site_builder.notebook_pages import NOTEBOOKS, REPOSITORY

FRAMES = REPOSITORY / ".venv" / "frames"
CELL_S = 1200
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook_paths() -> list[Path]:
    """All notebooks, by name."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def read(path: Path) -> Any:
    """A notebook. Raises a `ValidationError` of nbformat if it is damaged."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def execute(notebook: Any, folder: Path, environment: Mapping[str, str] | None = None) -> Any:
    """Run all cells of a notebook in `folder`, and put their outputs into it; returns it.

    `environment` is added to that of the kernel. Raises the `CellExecutionError` of the first cell that fails.
    """
    with tempfile.TemporaryDirectory(prefix="kernel-") as own:
        client = NotebookClient(
            notebook,
            # Sockets in the file system: no port that others could reach.
            km=AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{own}/socket"),
            timeout=CELL_S,
            resources={"metadata": {"path": str(folder)}},
            coalesce_streams=True,
        )
        ours = {**_environment(Path(own), needs_pandas(notebook)), **(environment or {})}
        # A client does not end a kernel of which it was given the manager, unless it is told so.
        client.execute(env=ours, cleanup_kc=True)
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    """The cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def needs_pandas(notebook: Any) -> bool:
    """Whether a notebook imports pandas."""
    return any("import pandas" in cell.source for cell in code_cells(notebook))


def _environment(own: Path, with_pandas: bool) -> dict[str, str]:
    """The environment of a kernel that keeps its own files, such as its history, in the folder `own`."""
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    modules = [str(REPOSITORY), str(FRAMES) * with_pandas, os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PATH": os.pathsep.join(filter(None, programs)),
        "PYTHONPATH": os.pathsep.join(filter(None, modules)),
        "IPYTHONDIR": str(own),
        # The debugger of the kernel warns of frozen modules, which nobody debugs here.
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def digest_of(notebook: Any) -> str:
    """sha256 of the sources of all cells of code."""
    sources = "\0".join(cell.source for cell in code_cells(notebook))
    return hashlib.sha256(sources.encode()).hexdigest()


def clean(notebook: Any) -> None:
    """Leave out what only this run knows, and note which sources it has executed."""
    notebook.metadata = {**METADATA, "executed": digest_of(notebook)}
    for cell in notebook.cells:
        cell.metadata = {}


def main() -> None:
    """Execute and save the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [path.stem for path in notebook_paths()]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}; default: all")
    wanted = parser.parse_args().names or names
    if unknown := set(wanted) - set(names):
        parser.error(f"no notebook is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    for name in wanted:
        path = NOTEBOOKS / f"{name}.ipynb"
        notebook = read(path)
        with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
            execute(notebook, Path(folder))
        clean(notebook)
        nbformat.write(notebook, path)
        print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
