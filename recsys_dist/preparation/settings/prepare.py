"""The settings of a preparation: `configs/prepare_*.yaml`."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, TypeAdapter, field_validator, model_validator

from recsys_dist.config import Settings
from recsys_dist.preparation.settings.input import InputSettings, ItemsSettings
from recsys_dist.preparation.settings.paths import Paths
from recsys_dist.preparation.settings.split import RandomSplit, SplitRule, needs_timestamps, with_kind
from recsys_dist.settings import Purpose
from recsys_dist.sizes import Size

if TYPE_CHECKING:
    # This imports NumPy and Arrow, which would delay error messages of the command line.
    from recsys_dist.dataset.manifest import Split

MAX_SHARDS = 4096
MIN_WORKER_BYTES = 128 << 20
"""An idle worker process needs more than this; with a lower limit it would restart forever."""


class RatingRules(Settings):
    """Which ratings are accepted."""

    min: float | None = None
    max: float | None = None
    """Ratings outside the range are rejected; null accepts any finite number."""
    max_rejected: float = Field(default=1.0, ge=0, le=1)
    """Maximum fraction of unusable rows; a larger one stops the preparation after parsing. Rows that other rules
    drop, such as duplicates, do not count. By default any number may be unusable, but not all."""
    duplicates: Literal["last", "first", "mean", "sum", "count", "error"] = "last"
    """Of several ratings of one item by one user, keep the last or the first by timestamp, their mean or their
    sum, or refuse the whole input. For equal timestamps, and without timestamps, input order decides: files by
    full name, then lines. Mean and sum get the timestamp of the last. `count` is for interactions: the value of a
    pair is the number of its rows, as with `sum`, and not 1, as with `last` and `first`."""
    min_user_ratings: int = Field(default=1, ge=1)
    min_item_ratings: int = Field(default=1, ge=1)
    """k-core filtering: drop users and items with fewer ratings, repeatedly. Duplicates count once; all splits
    count together."""

    @field_validator("duplicates", mode="before")
    @classmethod
    def _has_its_name(cls, duplicates: Any) -> Any:
        if duplicates == "latest":
            raise ValueError(
                "'latest' is not a rule; use 'last', which among equally late ratings keeps the last in the input"
            )
        return duplicates

    @property
    def adds_up(self) -> bool:
        """Whether the value of a pair is the sum over its rows."""
        return self.duplicates in {"sum", "count"}

    @model_validator(mode="after")
    def _is_a_range(self) -> RatingRules:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min {self.min} is not below max {self.max}")
        return self


class ShardSettings(Settings):
    """The number of canonical shards per side, which limits the number of ranks.

    null: 16; fewer (at least 4) if a shard would have under 250,000 ratings, more if it would exceed 2 million or,
    where that is more, 30 for each row of the other side, but never over 6 million.
    """

    users: int | None = Field(default=None, ge=1, le=MAX_SHARDS)
    items: int | None = Field(default=None, ge=1, le=MAX_SHARDS)


class TlsSettings(Settings):
    """Certificate files for a scheduler behind tls://."""

    ca: str
    cert: str
    key: str


class SlurmSettings(Settings):
    """The jobs that `kind: slurm` submits, one per worker."""

    host: str
    """The name or address by which the nodes reach this machine."""
    partition: str | None = None
    """The partition of the jobs; null: Slurm's default."""
    account: str | None = None
    """The account of the jobs; null: Slurm's default."""
    walltime: str = "01:00:00"
    """Time limit of a job. A worker whose job ends is not replaced; its tasks go to the others."""
    directives: tuple[str, ...] = ()
    """Additional sbatch options, such as --qos=low."""
    start_timeout_s: float = Field(default=600.0, gt=0)
    """How long to wait for the first job to start before giving up with the state that Slurm reports."""


def _worker_size(limit: Any) -> Any:
    """Validate the memory of a worker: `auto` or bytes."""
    try:
        num_bytes = limit if limit == "auto" else TypeAdapter(Size).validate_python(limit)
    except ValueError:
        raise ValueError(f"{limit!r} is neither auto nor a size such as 4GiB or 500MB") from None
    if num_bytes != "auto" and num_bytes < MIN_WORKER_BYTES:
        raise ValueError(f"{limit!r} is too little for a worker to start; set 128MiB or more, such as 4GiB")
    return num_bytes


class ClusterSettings(Settings):
    """Where the Dask tasks run."""

    kind: Literal["local", "address", "slurm"] = "local"

    """`local` starts worker processes on this machine, on loopback only; `address` uses a running scheduler;
    `slurm` submits workers as jobs (extra `slurm`). All workers must reach input and output by the same paths."""
    address: str | None = None
    """A running scheduler: tcp://host:port, or tls://host:port with `tls`."""
    slurm: SlurmSettings | None = None
    workers: int | None = Field(default=None, ge=1, le=1024)
    """Number of local worker processes; null: one per CPU core, at most 8 and at most one per block of input. For
    Slurm, the number of jobs."""
    memory_limit: Annotated[int | Literal["auto"], BeforeValidator(_worker_size)] = "auto"
    """Memory of each local worker, such as 4GiB; `auto` divides the machine's memory among the workers."""
    tls: TlsSettings | None = None
    insecure: bool = False
    """Allow a plain tcp:// scheduler beyond loopback; anyone who reaches its port can run code on the workers."""

    @model_validator(mode="before")
    @classmethod
    def _address_implies_kind(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and tree.get("address") is not None:
            return {"kind": "address", **tree}
        return tree

    @model_validator(mode="after")
    def _is_reachable_safely(self) -> ClusterSettings:
        if (self.kind == "address") != (self.address is not None):
            raise ValueError(
                "kind: address needs an address such as tcp://127.0.0.1:8786; the other kinds have none"
            )
        if (self.kind == "slurm") != (self.slurm is not None):
            raise ValueError("kind: slurm needs slurm.host; the other kinds have no section slurm")
        if self.kind == "slurm" and (self.workers is None or self.memory_limit == "auto"):
            raise ValueError(
                "kind: slurm needs workers, the number of jobs, and memory_limit for each, such as 4GiB"
            )
        if self.address is not None:
            _check_address(self.address, self.tls, self.insecure)
        return self


def _check_address(address: str, tls: TlsSettings | None, insecure: bool) -> None:
    parts = urlsplit(address)
    if parts.scheme not in {"tcp", "tls"} or not parts.hostname:
        raise ValueError(f"address {address!r} is not of the form tcp://host:port or tls://host:port")
    if (parts.scheme == "tls") != (tls is not None):
        raise ValueError("an address tls:// needs tls.ca, tls.cert and tls.key; an address tcp:// has no tls")
    if parts.scheme == "tcp" and not insecure and not _is_loopback(parts.hostname):
        raise ValueError(
            f"address {address!r} is plain tcp beyond this machine: anyone who reaches it can run code on the "
            "cluster; use tls:// or set insecure to true"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class PrepareConfig(Settings):
    """The settings of a preparation."""

    purpose = Purpose(
        command="prepare",
        section="input",
        example="prepare_csv",
        path_key="input.paths",
        others=dict.fromkeys(("model", "training", "checkpoint", "run_dir"), "train"),
    )

    input: InputSettings
    items: ItemsSettings | None = None
    ratings: RatingRules = RatingRules()
    split: Annotated[SplitRule, Field(discriminator="kind"), BeforeValidator(with_kind)] = RandomSplit(
        kind="random"
    )
    """Without a `kind`, the keys `test`, `valid` and `seed` imply `kind: random`; a fraction alone is `test`."""
    shards: ShardSettings = ShardSettings()
    output: str = Field(min_length=1)
    """Folder or URL of the dataset."""
    overwrite: bool = False
    """Whether to replace an existing dataset at `output`; it stays until the new one is complete, so there must be
    space for both."""
    append: bool = False
    """Whether to append the input to the dataset at `output`, by the same rules. Existing users and items keep
    their indices and shards; new ones are numbered after them."""
    cluster: ClusterSettings = ClusterSettings()

    @model_validator(mode="after")
    def _appends_what_can_be(self) -> PrepareConfig:
        if self.append and self.drops_rare:
            raise ValueError(
                "append: ratings dropped by ratings.min_user_ratings and min_item_ratings cannot be restored; "
                "prepare all files again"
            )
        return self

    @model_validator(mode="after")
    def _rates_or_counts(self) -> PrepareConfig:
        has_range = (self.ratings.min, self.ratings.max) != (None, None)
        if self.has_ratings:
            _check_ratings(self.ratings.duplicates, has_range)
        elif has_range:
            raise ValueError(
                "ratings.min and ratings.max need ratings, but input.columns.rating is null; set both to null"
            )
        elif self.ratings.duplicates == "mean":
            raise ValueError(
                "ratings.duplicates: mean needs ratings, but input.columns.rating is null; set it to last or count"
            )
        return self

    @model_validator(mode="after")
    def _names_its_files_once(self) -> PrepareConfig:
        if self.split.kind == "files" and self.input.paths:
            raise ValueError("input.paths: with split.kind: files, give the paths as split.train and split.test")
        if self.split.kind != "files" and not self.input.paths:
            raise ValueError("key 'input.paths' is required; give it in the file or as input.paths=VALUE")
        return self

    @model_validator(mode="after")
    def _knows_the_time(self) -> PrepareConfig:
        if needs_timestamps(self.split) and self.input.columns.timestamp is None:
            instead = "; or set split.by to hash" if self.split.kind == "leave_n_out" else ""
            raise ValueError(
                f"split.kind {self.split.kind} needs timestamps: set input.columns.timestamp{instead}"
            )
        return self

    @property
    def has_ratings(self) -> bool:
        """Whether rows have ratings; otherwise each is an interaction."""
        return self.input.columns.rating is not None

    @property
    def drops_rare(self) -> bool:
        """Whether k-core filtering drops users and items with few ratings."""
        return max(self.ratings.min_user_ratings, self.ratings.min_item_ratings) > 1


def _check_ratings(duplicates: str, has_range: bool) -> None:
    """Raise `ValueError` for rules of duplicates that do not suit ratings."""
    if duplicates == "count":
        raise ValueError(
            "ratings.duplicates: count is for interactions; set it to sum to add up the ratings, or "
            "input.columns.rating to null to ignore them"
        )
    if duplicates == "sum" and has_range:
        raise ValueError(
            "ratings.duplicates: sum gives values outside ratings.min and ratings.max; set both to null"
        )


def named_paths(config: PrepareConfig) -> Iterable[tuple[str, Split, Paths]]:
    """Yield (key, split of the rows, paths) for each key that names rating files."""
    if config.split.kind != "files":
        yield "input.paths", "train", config.input.paths
        return
    yield "split.train", "train", config.split.train
    if isinstance(config.split.valid, tuple):
        yield "split.valid", "valid", config.split.valid
    yield "split.test", "test", config.split.test
