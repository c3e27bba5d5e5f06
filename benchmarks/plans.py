"""Plans beside trainings: memory of the largest rank, time, traffic, checkpoint. It asserts nothing.

    python -m benchmarks.plans WORK_DIR DATASET [DATASET ...] [--only PART] [--ranks N ...]

Each of the forms below is planned and trained for a few epochs on 1 and on 2 ranks, on every dataset that is
given, one after the other. The settings leave nothing to search for, since a plan is of an epoch without a search;
ease has only one epoch, searches included. `--only` takes forms whose names contain the text.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from pathlib import Path

from benchmarks.commands import BIN, folder_megabytes, run, train
from recsys_dist.training.plan import Plan
from recsys_dist.training.tracking import PEAK, TRAFFIC

WIDEST = ("model.constrained=both", "model.noise=both", "training.epochs=4")
PENALTY = ("model.regularization=0.008", "model.unobserved_weight=0.3", "training.epochs=4")
FORMS = {
    "mf full": ("mf", *WIDEST),
    "mf point": ("mf", "model.posterior=point", "training.epochs=4"),
    "mf diagonal": ("mf", "model.posterior=diagonal", *WIDEST),
    "ials": ("ials", *PENALTY),
    "autorec items ddp": ("autorec_item", "model.parallel=ddp", "training.epochs=4"),
    "autorec items sharded": ("autorec_item", "model.parallel=sharded", "training.epochs=4"),
    "autorec users ddp": ("autorec_user", "model.parallel=ddp", "training.epochs=4"),
    "autorec users sharded": ("autorec_user", "model.parallel=sharded", "training.epochs=4"),
    "ease exact": ("ease", "model.method=exact"),
    "ease sparse": ("ease", "model.method=sparse"),
}
RANKS = (1, 2)


def planned(work: Path, dataset: Path, ranks: int, config: str, *overrides: str) -> Plan:
    """What the command says."""
    output = work / "plan.json"
    command: list[str | Path] = [
        "--config",
        config,
        "--ranks",
        str(ranks),
        "--output",
        output,
        f"dataset={dataset}",
        *overrides,
    ]
    run(BIN / "recsys-dist", "plan", *command)
    return Plan.parse(output.read_bytes(), str(output))


def compare(work: Path, dataset: Path, form: str, ranks: int) -> None:
    """Plan and train one form; print a line."""
    config, *overrides = FORMS[form]
    run_dir = work / "run"
    shutil.rmtree(run_dir, ignore_errors=True)
    plan = planned(work, dataset, ranks, config, *overrides)
    name = f"{dataset.name:20} {form:22} {ranks}"
    if plan.refusal is not None:
        print(f"{name}  refused: {plan.refusal}", flush=True)
        return
    train(config, dataset, run_dir, ranks, *overrides)
    epochs = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    checkpoint = sorted((run_dir / "checkpoints").iterdir())[-1]
    taken = statistics.median(epoch["seconds"] for epoch in epochs[1:] or epochs)
    pairs = {
        "MB": (plan.largest / 1e6, epochs[-1][PEAK]),
        "s": (plan.epoch_seconds or 0.0, taken),
        "MB received": (plan.ranks[0].received_bytes / 1e6, statistics.median(one[TRAFFIC] for one in epochs)),
        "MB saved": (plan.checkpoint_bytes / 1e6, folder_megabytes(checkpoint)),
    }
    told = "  ".join(
        f"{unit} {one:,.4g} / {other:,.4g} ({one / max(other, 1e-9) - 1:+.0%})"
        for unit, (one, other) in pairs.items()
        if one or other
    )
    print(f"{name}  {told}", flush=True)


def main() -> None:
    """Compare every form on every dataset."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--only", default="")
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    print("planned / measured", flush=True)
    for dataset in arguments.datasets:
        for form in (form for form in FORMS if arguments.only in form):
            for ranks in arguments.ranks:
                compare(arguments.work, dataset, form, ranks)


if __name__ == "__main__":
    main()
