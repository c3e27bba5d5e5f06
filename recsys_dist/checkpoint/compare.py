"""Bitwise comparison of checkpoints.

In: checkpoints, written by any number of ranks. Out: a digest of every tensor over all its rows and of every
replicated value; for differences, the first row, the number of entries and the size. Tables are read in ranges of
rows, so memory stays bounded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from pydantic import JsonValue

from recsys_dist.checkpoint.checkpoint import Checkpoint
from recsys_dist.checkpoint.manifest import TableSpec, TensorSpec

RANGE_BYTES = 64 << 20
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer types by the bytes of an entry, to compare bits: 0.0 and -0.0 differ."""


@dataclass(frozen=True)
class Difference:
    """One tensor (`table.tensor`) or replicated value (`values.name`) that differs between two checkpoints.

    `relative` is |a - b| / max(|a|, |b|) in the Euclidean norm of whole tensors: rounding may move a single entry
    far if its gradients nearly cancel. Infinite for non-numeric differences: shapes, integers, missing parts.
    """

    name: str
    told: str
    relative: float

    def __str__(self) -> str:
        size = "" if math.isinf(self.relative) else f", relative difference {self.relative:.2g}"
        return f"{self.name}: {self.told}{size}"


def content_digests(checkpoint: Checkpoint) -> dict[str, str]:
    """sha256 of each tensor and value by name; depends only on the content, not on its distribution over files."""
    digests: dict[str, str] = {}
    for table, spec in sorted(checkpoint.tables.items()):
        digests.update(_table_digests(checkpoint, table, spec))
    for name, value in sorted(checkpoint.values.items()):
        digests[f"values.{name}"] = hashlib.sha256(_text(value).encode()).hexdigest()
    return digests


def joint_digest(digests: Mapping[str, str]) -> str:
    """One sha256 over all digests."""
    lines = (f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def find_differences(left: Checkpoint, right: Checkpoint, names: list[str]) -> list[Difference]:
    """Differences in the tensors and values `names` (as in `content_digests`), in their order."""
    found: dict[str, Difference] = {}
    for table in {name.partition(".")[0] for name in names} & (left.tables.keys() | right.tables.keys()):
        tensors = [name.partition(".")[2] for name in names if name.partition(".")[0] == table]
        found.update(_table_differences(left, right, table, tensors))
    for name in names:
        key = name.removeprefix("values.")
        if name not in found and _text(left.values.get(key)) != _text(right.values.get(key)):
            found[name] = _value_difference(name, left.values.get(key), right.values.get(key))
    return [found[name] for name in names if name in found]


def _table_digests(checkpoint: Checkpoint, table: str, spec: TableSpec) -> dict[str, str]:
    hashes = {
        name: hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}\n".encode())
        for name, tensor in spec.tensors.items()
    }
    for start, stop in _row_ranges(spec):
        for name, rows in checkpoint.read_rows(table, start, stop).items():
            hashes[name].update(rows.view(torch.uint8).numpy().data)
    return {f"{table}.{name}": digest.hexdigest() for name, digest in sorted(hashes.items())}


def _row_ranges(spec: TableSpec) -> Iterator[tuple[int, int]]:
    step = max(1, RANGE_BYTES // max(1, spec.row_bytes))
    for start in range(0, spec.num_rows, step):
        yield start, min(start + step, spec.num_rows)


def _table_differences(
    left: Checkpoint, right: Checkpoint, table: str, tensors: list[str]
) -> dict[str, Difference]:
    left_spec, right_spec = left.tables.get(table), right.tables.get(table)
    found, tallies = {}, {}
    for tensor in tensors:
        ours, theirs = (spec.tensors.get(tensor) if spec else None for spec in (left_spec, right_spec))
        if ours is None or ours != theirs:
            told = f"{_form(ours)} against {_form(theirs)}"
            found[f"{table}.{tensor}"] = Difference(f"{table}.{tensor}", told, math.inf)
        else:
            tallies[tensor] = _Tally()
    if tallies and left_spec is not None:
        for start, stop in _row_ranges(left_spec):
            ours_rows, theirs_rows = left.read_rows(table, start, stop), right.read_rows(table, start, stop)
            for tensor, tally in tallies.items():
                tally.add(start, ours_rows[tensor], theirs_rows[tensor])
    told_of = {f"{table}.{tensor}": tally for tensor, tally in tallies.items() if tally.num_differing}
    return found | {name: tally.difference(name) for name, tally in told_of.items()}


def _form(tensor: TensorSpec | None) -> str:
    return "nothing" if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


class _Tally:
    """Accumulates the differences of one tensor over ranges of rows."""

    def __init__(self) -> None:
        self.num_differing = 0
        self._num_entries = 0
        self._first_row = -1
        self._gap = 0.0
        self._left = self._right = 0.0
        """Sums of squares."""

    def add(self, start: int, left: torch.Tensor, right: torch.Tensor) -> None:
        """Compare the rows from `start` on; both tensors have the same shape and dtype."""
        differs = left.view(BITS[left.itemsize]) != right.view(BITS[right.itemsize])
        self._num_entries += differs.numel()
        if left.is_floating_point():
            self._left += float(left.double().square().sum())
            self._right += float(right.double().square().sum())
        if differs.any():
            if not self.num_differing:
                self._first_row = start + int(differs.nonzero()[0, 0])
            self.num_differing += int(differs.sum())
            self._gap += _gap(left, right)

    def difference(self, name: str) -> Difference:
        """The difference of the whole tensor, if any entry differs."""
        told = f"first at row {self._first_row}, {self.num_differing:,} of {self._num_entries:,} entries differ"
        norm = math.sqrt(max(self._left, self._right))
        return Difference(name, told, _relative(math.sqrt(self._gap), norm))


def _gap(left: torch.Tensor, right: torch.Tensor) -> float:
    """Sum of squared differences; infinite for integers."""
    return float((left.double() - right.double()).square().sum()) if left.is_floating_point() else math.inf


def _relative(gap: float, norm: float) -> float:
    return gap / norm if 0 < gap < math.inf else gap


def _value_difference(name: str, left: JsonValue, right: JsonValue) -> Difference:
    ours: list[float] = []
    theirs: list[float] = []
    if not _collect_floats(left, right, ours, theirs) or not ours:
        return Difference(name, f"{_short(left)} against {_short(right)}", math.inf)
    pairs = list(zip(ours, theirs, strict=True))
    told = f"{sum(_text(a) != _text(b) for a, b in pairs):,} of {len(pairs):,} numbers differ"
    gap, *norms = (math.hypot(*numbers) for numbers in ([a - b for a, b in pairs], ours, theirs))
    return Difference(name, told, _relative(gap, max(norms)))


def _collect_floats(left: JsonValue, right: JsonValue, ours: list[float], theirs: list[float]) -> bool:
    """Append the floats of two trees to `ours` and `theirs`; returns whether the rest of both is equal."""
    if isinstance(left, float) and isinstance(right, float):
        ours.append(left)
        theirs.append(right)
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        has_same_keys = left.keys() == right.keys()
        return has_same_keys and all(_collect_floats(left[key], right[key], ours, theirs) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        pairs = zip(left, right, strict=False)
        return len(left) == len(right) and all(_collect_floats(*pair, ours, theirs) for pair in pairs)
    return left == right


def _short(value: JsonValue) -> str:
    text = _text(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)
