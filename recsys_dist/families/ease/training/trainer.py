"""Training of EASE on one rank: one epoch, which finds lambda and solves for all items.

interactions --(search: nDCG of withheld ones)--> lambda --exact or sparse solution--> weights of own items
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import NamedTuple

import torch

from recsys_dist.checkpoint.state import StateReader, TableRows, TrainerState
from recsys_dist.dataset.sharding import share_shards
from recsys_dist.errors import DataError
from recsys_dist.families.ease.settings import EaseSettings
from recsys_dist.families.ease.training.exact import ExactSolver
from recsys_dist.families.ease.training.interactions import Csr, Interactions, mean_length, train_blocks, values_of
from recsys_dist.families.ease.training.judge import Judge, scale_of
from recsys_dist.families.ease.training.layout import BlockLayout
from recsys_dist.families.ease.training.penalty import Penalty
from recsys_dist.families.ease.training.requirements import choose_method
from recsys_dist.families.ease.training.search import Best, LambdaSearch
from recsys_dist.families.ease.training.sparse import SparseSolver
from recsys_dist.families.ease.training.state import EaseState
from recsys_dist.families.ease.training.weights import Weights
from recsys_dist.families.targets import TARGETS, Target, TargetKind
from recsys_dist.families.tuning_holdout import can_judge
from recsys_dist.process.heap import return_freed_memory
from recsys_dist.protocols.family import TrainingSetup
from recsys_dist.protocols.trainer import EpochResult, Trial

NORMALIZATIONS = (0.25, 0.0, 0.5, 0.75)
"""User normalizations to choose from; lambda is found with the first of them, on which it hardly depends."""
DISCOUNTS = (0.0, 0.1, 0.2)
"""Popularity discounts to choose from; between two of them nDCG at 10 hardly differs."""


class _Choice(NamedTuple):
    """What the search chooses."""

    target: TargetKind
    regularization: float
    user_normalization: float
    popularity_discount: float

    def __str__(self) -> str:
        return (
            f"regularization {self.regularization:.4g}, user_normalization {self.user_normalization:g}, "
            f"popularity_discount {self.popularity_discount:g}, target {self.target}"
        )


class EaseTrainer:
    """Implements the protocol of protocols/trainer.py."""

    is_searching = False

    def __init__(self, setup: TrainingSetup[EaseSettings]) -> None:
        self._setup = setup
        self._dataset, self._settings, self._seed = setup.dataset, setup.settings, setup.seed
        self._collectives = setup.collectives
        self._memory_limit = setup.memory_limit
        world = setup.collectives.world
        self._share = share_shards(setup.dataset.shards("users"), world.size)[world.rank]
        self._state = EaseState(
            target=setup.settings.target,
            regularization=setup.settings.regularization,
            user_normalization=setup.settings.user_normalization,
            popularity_discount=setup.settings.popularity_discount,
        )
        self._tried: dict[_Choice, float] = {}
        """nDCG at 10 of each choice that the search has judged, in this order."""
        self._weights: Weights | None = None
        self.epochs_done = 0

    @property
    def has_converged(self) -> bool:
        """Whether the weights are solved."""
        return self._weights is not None

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:
        """Find lambda and solve; calls `should_stop` between steps. An unfinished solution starts again."""
        num_ratings = self._dataset.manifest.num_ratings["train"]
        with closing(self._steps()) as steps:
            for _ in steps:
                if should_stop():
                    return EpochResult(None, num_ratings, {}, finished=False)
        state = self._state
        extra = {
            "lambda": state.regularization or 0.0,
            "normalization": state.user_normalization or 0.0,
            "discount": state.popularity_discount or 0.0,
            "kept_share": state.kept_share,
        }
        if state.ndcg is not None:
            extra["withheld_ndcg"] = state.ndcg
        return EpochResult(None, num_ratings, extra, note=self._note(), trials=self._trials())

    def _steps(self) -> Generator[None, None, None]:
        """All the work, in steps that are the same on all ranks."""
        method = choose_method(self._setup)
        self._state = self._state.model_copy(update={"method": method})
        value_un = self._collectives.together("reading the interactions", lambda: self._read(self._share))
        count, squares = self._sum(value_un.nnz, float(value_un.power(2).sum()))
        if count == 0:
            raise DataError(
                f"{self._dataset.folder.url} has no interactions of model.target: {self._target.kind}; use all"
            )
        yield
        state, target = self._state, self._target
        if None in {state.target, state.regularization, state.user_normalization, state.popularity_discount}:
            yield from self._search(fallback=squares / self._dataset.num_items)
            return_freed_memory()
            if self._target != target:
                value_un = self._collectives.together("reading the interactions", lambda: self._read(self._share))
        solver = self._solver(value_un)
        del value_un
        yield from solver.steps()
        kept, total = self._sum(solver.weights.kept, solver.weights.total)
        self._state = self._state.model_copy(update={"kept": kept, "total": total})
        self._weights, self.epochs_done = solver.weights, 1

    def _search(self, fallback: float) -> Generator[None, None, None]:
        """Find what is null in the settings; `fallback` is lambda if too few interactions can be withheld."""
        settings = self._settings
        normalizations = _choices(settings.user_normalization, NORMALIZATIONS)
        discounts = _choices(settings.popularity_discount, DISCOUNTS)
        if not can_judge(self._dataset.manifest):
            self._found(self._target.kind, settings.regularization or fallback, normalizations[0], discounts[0])
            return
        judge = self._judge(self._target, normalizations)
        gram_JJ = judge.gram(normalizations[0])
        search = LambdaSearch.of(settings.regularization)
        yield
        while (regularization := search.next) is not None:
            figures = judge.ndcg(gram_JJ, self._penalty(regularization), discounts)
            self._note_trials(self._target.kind, regularization, normalizations[0], discounts, figures)
            search = search.after(figures)
            yield
        best = search.best
        regularization, normalization = best.regularization, normalizations[0]
        for other in normalizations[1:]:
            figures = judge.ndcg(judge.gram(other), self._penalty(regularization), discounts)
            self._note_trials(self._target.kind, regularization, other, discounts, figures)
            if max(figures) > best.figure:
                best, normalization = Best.of(regularization, figures), other
            yield
        kind, discount, figure = self._target.kind, discounts[best.choice], best.figure
        for other_kind in TARGETS[1:] if settings.target is None else ():
            judge = self._judge(self._target_of(other_kind), [normalization])
            figures = judge.ndcg(judge.gram(normalization), self._penalty(regularization), [discount])
            self._note_trials(other_kind, regularization, normalization, [discount], figures)
            if figures[0] > figure:
                kind, figure = other_kind, figures[0]
            yield
        self._found(kind, regularization, normalization, discount, figure)

    def _note_trials(
        self,
        target: TargetKind,
        regularization: float,
        normalization: float,
        discounts: Sequence[float],
        figures: Sequence[float],
    ) -> None:
        for discount, figure in zip(discounts, figures, strict=True):
            self._tried[_Choice(target, regularization, normalization, discount)] = figure

    def _trials(self) -> list[Trial]:
        state = self._state
        kept = state.target, state.regularization, state.user_normalization, state.popularity_discount
        return [
            Trial(str(choice), "nDCG@10", figure, None, choice == kept) for choice, figure in self._tried.items()
        ]

    def _judge(self, target: Target, normalizations: Sequence[float]) -> Judge:
        return Judge.read(
            self._dataset,
            self._share,
            target,
            normalizations,
            self._kept_share,
            self._memory_limit,
            self._seed,
            self._collectives,
        )

    def _found(
        self,
        target: TargetKind,
        regularization: float,
        normalization: float,
        discount: float,
        ndcg: float | None = None,
    ) -> None:
        found = {
            "target": target,
            "regularization": regularization,
            "user_normalization": normalization,
            "popularity_discount": discount,
            "ndcg": ndcg,
        }
        self._state = self._state.model_copy(update=found)

    def _penalty(self, regularization: float) -> Penalty:
        return Penalty(regularization, self._settings.dropout)

    def _solver(self, value_un: Csr) -> ExactSolver | SparseSolver:
        settings, collectives, state = self._settings, self._collectives, self._state
        assert state.regularization is not None, "given, or found by the search"
        assert state.popularity_discount is not None, "given, or found by the search"
        penalty = self._penalty(state.regularization)
        scale_n = torch.from_numpy(scale_of(self._dataset.num_train("items"), state.popularity_discount))
        keep = settings.keep_of(self._dataset.num_items)
        if state.method == "exact":
            return ExactSolver(self._weighted(value_un), penalty, keep, scale_n, collectives)
        value_Un = collectives.together("reading all interactions", lambda: self._read(self._all_shards))
        return SparseSolver(
            self._weighted(value_Un).scaled(),
            penalty,
            settings.neighbors,
            keep,
            scale_n,
            collectives.world,
        )

    @property
    def _target(self) -> Target:
        """The target of the state; before it is chosen, the first to try."""
        return self._target_of(self._state.target or TARGETS[0])

    def _target_of(self, kind: TargetKind) -> Target:
        return Target.of(kind, self._dataset.manifest)

    @property
    def _kept_share(self) -> float:
        """Share of an item's weights that the model keeps, of those that are solved for."""
        num_items, settings = self._dataset.num_items, self._settings
        solved = num_items if self._state.method == "exact" else min(settings.neighbors, num_items)
        return min(1.0, settings.keep_of(num_items) / solved)

    @property
    def _all_shards(self) -> range:
        return range(len(self._dataset.shards("users")))

    def _read(self, share: range) -> Csr:
        return values_of(train_blocks(self._dataset, share), self._dataset.num_items, self._target)

    def _weighted(self, value_un: Csr) -> Interactions:
        normalization = self._state.user_normalization
        assert normalization is not None, "given, or found by the search"
        return Interactions.of(value_un, mean_length(self._dataset), normalization)

    def _sum(self, *local: float) -> list[float]:
        """Sums over all ranks."""
        device = self._collectives.world.device
        total: list[float] = self._collectives.sum_(
            torch.tensor(local, dtype=torch.float64, device=device)
        ).tolist()
        return total

    def _note(self) -> str:
        state, weights = self._state, self._weights
        assert weights is not None, "the epoch is done"
        chosen = "" if self._settings.target is not None else f"target {state.target}, "
        judged = "" if state.ndcg is None else f", nDCG@10 {state.ndcg:.4f} of withheld interactions"
        return (
            f"{state.method} solution, {chosen}regularization {state.regularization:.4g}, user_normalization "
            f"{state.user_normalization:g}, popularity_discount {state.popularity_discount:g}{judged}; "
            f"the {weights.keep:,} largest weights of an item hold {state.kept_share:.2%} of |B|^2"
        )

    def validate(self) -> None:
        """None: the model predicts no ratings."""

    def state(self) -> TrainerState:
        """The weights of this rank's items, if they are solved."""
        tables = {}
        if self._weights is not None:
            tables["items"] = TableRows(self._weights.start, self._dataset.num_items, self._weights.columns())
        return TrainerState(tables, self._state.model_dump(mode="json"))

    def load_state(self, reader: StateReader) -> None:
        """Continue from a state of any number of ranks: with its lambda, or at the end."""
        self._state = EaseState.of(reader.values)
        if self._state.total is None:
            return
        num_items, world = self._dataset.num_items, self._collectives.world
        start, stop = BlockLayout(num_items, world.size).items_of(world.rank)
        self._weights = Weights.of_rows(start, num_items, reader.read_rows("items", start, stop))
        self.epochs_done = 1


def _choices(given: float | None, usual: Sequence[float]) -> Sequence[float]:
    """The values to choose from: the one that is given alone."""
    return usual if given is None else [given]
