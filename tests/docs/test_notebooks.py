"""Notebooks in examples/notebooks run without an error, say what is so, and are saved as they run."""

from __future__ import annotations

import base64
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from docs.site_builder.notebook_pages import NOTEBOOKS, notebook_pages, page_of, with_links_of_the_site
from docs.site_builder.notebooks import (
    FRAMES,
    clean,
    code_cells,
    digest_of,
    execute,
    main,
    needs_pandas,
    notebook_paths,
    read,
)
from tests.support.pages import LINK

PATHS = notebook_paths()
FEW_RATINGS = "200_000"
MOST_BYTES, LEAST_PICTURES = 300_000, 3
OF_A_MACHINE = re.compile(r"(?<![\w.:/])/(?:tmp|root|home|work|Users|opt|usr|var)/")
CLAIMS = {
    "a-model-of-your-own": (
        "max(relative.values()) < OwnScale.parity_tolerance / 10",
        "np.allclose(predicted_one, predicted_two, atol=1e-3)",
        "report.rmse < report.baselines['user_item_bias'].rmse < report.baselines['global_mean'].rmse",
        "spread[wide] > 1 > spread[narrow]",
    ),
    "from-27-million-ratings-to-a-service": (
        "abs(num_ratings / RATINGS - 1) < 0.3",
        "floor < errors['mf'] < errors['biases'] < errors['mean']",
        "found['best there is'].mean() > found['mf, lower'].mean() > found['most rated'].mean()",
        "found['mf, mean'].mean() - everything.mean() > 0.6 * (found['best there is'].mean() - everything.mean())",
        "abs(found['mf, mean'].mean() - found['mf, lower'].mean()) < 0.1",
        "abs(found['most rated'].mean() - everything.mean()) < 0.3",
        "service.returncode == 0",
        "len(latency) == 300",
    ),
    "from-pandas-to-lists": (
        "'0068646' in set(ratings.film)",
        "(ratings.rating > 5).mean() > 0.5 and ratings.film.value_counts().median() < 5",
        "24 <= counts[user] <= 40",
        "all(a.ndcg > b.ndcg and a.recall > b.recall for a, b in zip(ease, popular, strict=True))",
        "many.user_id.nunique() == 1000 and len(listed) > 100",
    ),
    "how-sure-is-a-prediction": (
        "not np.isin(films[users == user], some).any()",
        "not np.isin(train_films[train_users == user], some).any()",
        "num_ratings[some[0]] > num_ratings[some[1]] > num_ratings[some[2]]",
        "np.ptp(model.predict(user, some)) < 0.5",
        "(np.diff(model.predict(user, some, return_std=True)[1]) > 0).all()",
        "np.abs(found - stated).max() < 0.06 and (found - stated)[3:7].min() > 0",
        "error[0] < error[-1] / 2 and np.abs(error / stated_std - 1).max() < 0.15",
        "better[-1] > shrinking[-1] and better[0] > 1.1 * shrinking[0]",
        "np.abs(better / shrinking - 1)[2:].max() < 0.15",
        "(np.diff(better) < 0).all() and shrinking[-1] < 0.9 * shrinking[0] and shrinking[-1] > 1",
        "different[2] > 2 * different[0] and abs(different[1] - different[0]) < different[0] / 2",
        "typical[2] < 5 < typical[0]",
    ),
}
"""What the texts say, in the names of the code; true at the end of the notebook."""


def name_of(path: Path) -> str:
    return path.stem


def texts_of(output: Any) -> list[str]:
    """What an output shows as text."""
    data = output.get("data", {})
    return [output.get("text", ""), data.get("text/plain", ""), data.get("text/html", "")]


def test_each_notebook_has_claims() -> None:
    assert [path.stem for path in PATHS] == sorted(CLAIMS)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_a_notebook_runs_and_what_it_says_is_so(path: Path, tmp_path: Path) -> None:
    notebook = read(path)
    if needs_pandas(notebook) and not FRAMES.is_dir() and find_spec("pandas") is None:
        pytest.skip(f"needs pandas, which tests/run.sh installs into {FRAMES}")
    claims = [f"assert {claim}, {claim!r}" for claim in CLAIMS[path.stem]]
    notebook.cells.append(nbformat.v4.new_code_cell("\n".join(claims)))
    execute(notebook, tmp_path, {"RATINGS": FEW_RATINGS})
    assert [one.name for one in tmp_path.iterdir()] == ["runs"], "it writes beside the folder that it names"


@pytest.mark.parametrize("path", PATHS, ids=name_of)
class TestSaved:
    def test_it_is_what_was_executed_whole_and_in_order(self, path: Path) -> None:
        notebook = read(path)
        cells = code_cells(notebook)
        assert notebook.metadata["executed"] == digest_of(notebook), (
            f"its code has changed: python -m docs.site_builder.notebooks {path.stem}"
        )
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
        assert not [one for cell in cells for one in cell.outputs if one.output_type == "error"]

    def test_it_ends_with_pictures_and_is_small(self, path: Path) -> None:
        pictures = [
            [one for one in cell.outputs if "image/png" in one.get("data", {})] for cell in code_cells(read(path))
        ]
        assert pictures[-1]
        assert sum(map(len, pictures)) >= LEAST_PICTURES
        assert path.stat().st_size <= MOST_BYTES

    def test_its_outputs_are_of_no_machine_and_no_warnings(self, path: Path) -> None:
        shown = [text for cell in code_cells(read(path)) for one in cell.outputs for text in texts_of(one)]
        assert not [text for text in shown if OF_A_MACHINE.search(text)]
        assert not [text for text in shown if "Warning" in text or "\x1b" in text]

    def test_its_links_lead_to_files(self, path: Path) -> None:
        texts = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
        targets = [found[0] for text in texts for found in LINK.findall(text)]
        assert targets
        assert not [target for target in targets if not (NOTEBOOKS / target).is_file()]

    def test_its_page_has_all_pictures_and_links_within_the_site(self, path: Path) -> None:
        content = page_of(path.stem, read(path))
        page = str(content.pop(f"notebooks/{path.stem}.md"))
        assert [f"notebooks/{name}" for name in re.findall(r"\]\(([^)]+\.png)\)", page)] == list(content)
        assert ".ipynb)" not in page.rpartition("\n---\n")[0]
        assert "](../../" not in page


def test_the_large_notebook_is_saved_with_all_its_ratings() -> None:
    (path,) = [one for one in PATHS if "27-million" in one.stem]
    shown = [text for cell in code_cells(read(path)) for one in cell.outputs for text in texts_of(one)]
    (count,) = re.findall(r"([\d,]+) ratings by", "".join(shown))
    assert int(count.replace(",", "")) // 1_000_000 == 27


def test_a_cell_that_fails_ends_the_run_and_the_kernel(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell(code) for code in ("1 / 0", "print('after')")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(notebook, tmp_path)
    assert notebook.cells[1].outputs == []


def test_a_name_that_no_notebook_has_is_answered_with_those_there_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["notebooks", "lists"])
    with pytest.raises(SystemExit):
        main()
    assert "no notebook is called lists; there are a-model-of-your-own, " in capsys.readouterr().err


def test_cleaning_leaves_no_times_of_a_run() -> None:
    notebook = read(PATHS[0])
    notebook.cells[-1].metadata = {"execution": {"iopub.status.busy": "2026-11-30T13:00:00"}}
    notebook.metadata["widgets"] = {}
    clean(notebook)
    assert {tuple(cell.metadata) for cell in notebook.cells} == {()}
    assert set(notebook.metadata) == {"kernelspec", "language_info", "executed"}


def test_links_become_those_of_the_site() -> None:
    text = "[a](../../docs/guide/mf.md) [b](how-sure.ipynb) [c](../neumf.py) [d](https://x.org/y.ipynb)"
    assert with_links_of_the_site(text) == (
        "[a](../guide/mf.md) [b](how-sure.md) "
        "[c](https://github.com/recsys-dist/recsys_dist/blob/main/examples/neumf.py) [d](https://x.org/y.ipynb)"
    )


def test_outputs_become_blocks_tables_and_pictures() -> None:
    outputs = [
        {"output_type": "stream", "text": ["one\n", "two\n"]},
        {"output_type": "display_data", "data": {"text/plain": "three", "text/html": "<pre>three</pre>"}},
        {
            "data": {
                "text/plain": "4",
                "text/html": '<div><style>x</style><table border="1"><tr></tr></table></div>',
            }
        },
        {"data": {"image/png": base64.b64encode(b"five").decode()}},
    ]
    cells = [
        {"cell_type": "markdown", "source": "## Heading"},
        {"cell_type": "code", "source": ["1"], "outputs": outputs},
    ]
    content = page_of("name", {"cells": cells})
    page = str(content["notebooks/name.md"])
    assert "```python\n1\n```\n\n```text\none\ntwo\nthree\n```\n\n<div><table><tr></tr></table></div>\n" in page
    assert "![Heading: figure](name-1.png)" in page
    assert content["notebooks/name-1.png"] == b"five"


def test_every_notebook_has_a_page() -> None:
    pages = {name for name in notebook_pages() if name.endswith(".md")}
    assert pages == {f"notebooks/{path.stem}.md" for path in PATHS}
