"""The model card of a hub folder: README.md with a YAML header. It names no user, no item and no path."""

from __future__ import annotations

from typing import Any

import yaml

from recsys_dist.evaluation.report import EvaluationReport
from recsys_dist.model_folder.manifest import ModelManifest
from recsys_dist.version import __version__

TASK = "recommendation"


def model_card(model: ModelManifest, written: ModelManifest, report: EvaluationReport | None) -> str:
    """The card of `written`: the model itself, or its copy without users."""
    has_users = written == model
    parts = [_header(model, report), _what(model, written), _usage(model, has_users), _settings(model)]
    if report is not None:
        parts.append(_figures(report, has_users))
    return "\n".join([*parts, _limits(model, has_users)])


def _header(model: ModelManifest, report: EvaluationReport | None) -> str:
    tree: dict[str, Any] = {
        "library_name": "recsys_dist",
        "license": "unknown",
        "tags": ["recommender-system", "collaborative-filtering", model.kind],
    }
    if report is not None:
        measured = _measured(report)
        tree["metrics"] = sorted(measured)
        results = {
            "task": {"type": TASK},
            "dataset": {"name": f"the {report.split} split of its dataset", "type": "ratings"},
            "metrics": [{"type": name, "value": round(value, 6)} for name, value in measured.items()],
        }
        tree["model-index"] = [{"name": model.kind, "results": [results]}]
    return f"---\n{yaml.safe_dump(tree, sort_keys=False)}---\n"


def _measured(report: EvaluationReport) -> dict[str, float]:
    """The figures of a report by name."""
    found = {"rmse": report.rmse, "mae": report.mae}
    for cut in report.ranking.cuts if report.ranking is not None else ():
        found |= {f"ndcg@{cut.top}": cut.ndcg, f"recall@{cut.top}": cut.recall}
    return {name: value for name, value in found.items() if value is not None}


def _what(model: ModelManifest, written: ModelManifest) -> str:
    rating = model.rating
    num_ratings = sum(shard.num_ratings for shard in model.user_shards)
    return f"""# A recommender of kind `{model.kind}`

Trained with [recsys_dist](https://github.com/recsys-dist/recsys_dist) {model.provenance.recsys_dist}.

| | |
|---|---|
| users | {model.num_users:,} |
| items | {model.num_items:,} |
| train ratings | {num_ratings:,} |
| values of ratings | {rating.min:g} to {rating.max:g}, mean {rating.mean:.4f} |
| epochs | {model.step} |
| digest of the model | `{written.contents_digest}` |
| digest of the dataset | `{model.provenance.dataset_digest}` |
"""


def _usage(model: ModelManifest, has_users: bool) -> str:
    known = "model.recommend([model.user_ids[0]], 10)\n" if has_users else ""
    return f"""## How to use it

With recsys_dist {__version__} or newer, in the folder of this file:

```python
import recsys_dist as rd

model = rd.load_model(".", verify=True)
{known}model.fold_in([model.item_ids[0]], [{model.rating.max:g}]).recommend(10)  # someone new, from ratings
```

`sha256sum -c SHA256SUMS` checks all files.
"""


def _settings(model: ModelManifest) -> str:
    settings: Any = model.config.get("model")
    rows = [
        f"| `model.{name}` | {value} |"
        for name, value in (settings.items() if isinstance(settings, dict) else ())
        if isinstance(value, bool | int | float | str)
    ]
    return "\n".join(["## Settings", "", "| key | value |", "|---|---|", *rows, ""])


def _figures(report: EvaluationReport, has_users: bool) -> str:
    whose = "" if has_users else ", of the model with its users"
    lines = [f"## Evaluation\n\nOn {report.count:,} ratings of the {report.split} split{whose}.\n"]
    if report.predicts_ratings:
        errors = [*report.baselines.items(), ("this model", report)]
        rows = [f"| {name.replace('_', ' ')} | {_shown(one.rmse)} | {_shown(one.mae)} |" for name, one in errors]
        lines += ["| | RMSE | MAE |", "|---|---|---|", *rows, ""]
    if (ranking := report.ranking) is not None:
        named = [*ranking.baselines.items(), ("this model", ranking.cuts)]
        rows = [
            f"| {name} | {cut.top} | {_shown(cut.ndcg)} | {_shown(cut.recall)} | {_shown(cut.coverage)} |"
            for name, cuts in named
            for cut in cuts
        ]
        head = ["| | items listed | nDCG | recall | share of items listed |", "|---|---|---|---|---|"]
        lines += [f"Lists of unseen items for {ranking.users:,} users:\n", *head, *rows, ""]
    return "\n".join(lines)


def _limits(model: ModelManifest, has_users: bool) -> str:
    return f"""## Limits and privacy

{_privacy(model, has_users)}
- The licence is not known to the program that wrote this card: set it in the header.
- The model knows users, items and ratings only, neither time nor properties of items, and repeats what is usual in
  its data. An item without train ratings is recommended by the average alone.
"""


def _privacy(model: ModelManifest, has_users: bool) -> str:
    if has_users:
        return f"""- **The folder holds the ids of all {model.num_users:,} users and their train ratings**,
  in `users.parquet` and `ratings/`; `model.json` names the folders of its training. Publish it only if the data
  may be published."""
    return """- The folder holds no user and no rating: everyone is folded in from ratings. What it knows of items
  was learnt from users all the same."""


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.4f}"
