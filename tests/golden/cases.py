"""Small real datasets and one model of each kind, made by the commands as a user would make them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOVIETWEETINGS = ROOT / "tests/data/movietweetings"
ML_100K = ROOT.parent / "shared/data/ml-100k"
APPENDED_LINES = 1000


@dataclass(frozen=True)
class DatasetCase:
    """`recsys-dist prepare`, with these settings, of inputs that lie in the working folder."""

    config: str
    settings: tuple[str, ...]
    appended: str | None = None


@dataclass(frozen=True)
class ModelCase:
    """`recsys-dist train` and `merge` on one of the datasets."""

    dataset: str
    config: str
    settings: tuple[str, ...]
    knows_uncertainty: bool = False


def _tweets(*settings: str, paths: str = "ratings.dat.gz", appended: str | None = None) -> DatasetCase:
    inputs = (f"input.paths={paths}", "items.paths=movies.dat.gz")
    return DatasetCase("prepare_movietweetings", (*inputs, *settings), appended)


DATASETS = {
    "tweets-random": _tweets(),
    "tweets-time": _tweets("split={kind: time, test: 0.1, valid: 0.05}"),
    "tweets-leave-latest": _tweets("split={kind: leave_n_out, test: 2, valid: 1, by: time}"),
    "tweets-leave-any": _tweets("split={kind: leave_n_out, test: 1, valid: 1, by: hash, min_train: 3}"),
    "tweets-k-core": _tweets("ratings.min_user_ratings=5", "ratings.min_item_ratings=5"),
    "tweets-appended": _tweets(paths="first.dat", appended="last.dat"),
    "ml-100k-u1": DatasetCase(
        "prepare_ml100k_u1",
        (
            "split={kind: files, train: [u1.base.gz], test: [u1.test.gz], valid: 0.05}",
            "items.paths=u.item.gz",
        ),
    ),
}


def _mf(dataset: str, *settings: str, knows_uncertainty: bool = True) -> ModelCase:
    small = ("model.factors=5", "training.epochs=8")
    return ModelCase(dataset, "mf", (*small, *settings), knows_uncertainty)


def _autorec(dataset: str, config: str, *settings: str) -> ModelCase:
    # Which epoch is the best depends on which are saved.
    small = ("model.hidden=12", "training.epochs=6", "checkpoint.every=5")
    return ModelCase(dataset, config, (*small, *settings))


GIVEN = ("model.regularization=100", "model.implicit_input=1", "model.input_dropout=0.2")
SMOOTH = ("model.regularization=100", "model.implicit_input=0", "model.input_dropout=0")
MODELS = {
    "mf-full": _mf("ml-100k-u1", "training.epochs=30"),
    "mf-diagonal": _mf("ml-100k-u1", "model.posterior=diagonal"),
    "mf-point": _mf("ml-100k-u1", "model.posterior=point", knows_uncertainty=False),
    "mf-als": _mf("ml-100k-u1", "model.posterior=point", "model.prior=fixed", knows_uncertainty=False),
    "mf-constrained": _mf("ml-100k-u1", "model.constrained=both", "model.noise=both"),
    "mf-tweets": _mf("tweets-random"),
    "items-adam": _autorec("ml-100k-u1", "autorec_item", "training.epochs=20"),
    "users-adam": _autorec("ml-100k-u1", "autorec_user", "training.epochs=20"),
    "users-deep": _autorec(
        "ml-100k-u1", "autorec_user", "model.hidden=[12, 6, 12]", "model.output_activation=sigmoid", *GIVEN
    ),
    "items-rowwise": _autorec("ml-100k-u1", "autorec_item", "model.optimizer=rowwise_rmsprop", *GIVEN),
    "items-rprop": _autorec("ml-100k-u1", "autorec_item", "model.optimizer=rprop", *GIVEN),
    "users-lbfgs": _autorec("ml-100k-u1", "autorec_user", "model.optimizer=lbfgs", *SMOOTH),
    "users-tweets": _autorec("tweets-random", "autorec_user"),
}
