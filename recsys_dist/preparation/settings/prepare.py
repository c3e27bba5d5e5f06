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
from recsys_dist.sizes import Size

if TYPE_CHECKING:
    # With it come arrays and tables, which take longer to import than a command may take to say what is wrong.
    from recsys_dist.dataset.manifest import Split

MAX_SHARDS = 4096
MIN_WORKER_BYTES = 128 << 20
"""A worker process takes more than this before it does anything; below it would be restarted for ever."""


class RatingRules(Settings):
    """Which ratings are accepted."""

    min: float | None = None
    max: float | None = None
    """Ratings outside are refused; null accepts any finite number."""
    max_rejected: float = Field(default=1.0, ge=0, le=1)
    """The fraction of the rows read that may be unusable: more of them stop the preparation once all are parsed.
    What the other rules drop, such as repeated pairs, does not count. By default any may be, but not all."""
    duplicates: Literal["last", "first", "mean", "error"] = "last"
    """Several ratings of one item by one user: keep the last or the first by timestamp, their mean, or refuse the
    whole input. Of equally late ones, and without timestamps, the order of the input counts: files by their full
    names, rows as they stand. The mean is kept with the timestamp of the last."""
    min_user_ratings: int = Field(default=1, ge=1)
    min_item_ratings: int = Field(default=1, ge=1)
    """Users and items with fewer ratings are left out with all of them, until each that stays has as many among
    what stays. Repeated ratings count once; which split a rating is for does not matter."""

    @field_validator("duplicates", mode="before")
    @classmethod
    def _has_its_name(cls, duplicates: Any) -> Any:
        if duplicates == "latest":
            raise ValueError(
                "'latest' is called 'last' now, and of equally late ratings the last in the input counts"
            )
        return duplicates

    @model_validator(mode="after")
    def _is_a_range(self) -> RatingRules:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min {self.min} is not below max {self.max}")
        return self


class ShardSettings(Settings):
    """How many canonical shards each side is cut into, which is how many ranks can share the work.

    null: 16, fewer (at least 4) so that each has 250,000 ratings, or more so that none passes 2 million.
    """

    users: int | None = Field(default=None, ge=1, le=MAX_SHARDS)
    items: int | None = Field(default=None, ge=1, le=MAX_SHARDS)


class TlsSettings(Settings):
    """Certificate files for a scheduler behind tls://."""

    ca: str
    cert: str
    key: str


class SlurmSettings(Settings):
    """The jobs that `kind: slurm` submits, one for each worker."""

    host: str
    """The name or address at which the nodes reach this machine."""
    partition: str | None = None
    account: str | None = None
    walltime: str = "01:00:00"
    """A worker whose job ends is replaced by none: its tasks go to the others."""
    directives: tuple[str, ...] = ()
    """Further options of sbatch, such as --qos=low."""
    start_timeout_s: float = Field(default=600.0, gt=0)
    """How long the first job may take to start, before it is given up with what Slurm says of it."""


def _worker_size(limit: Any) -> Any:
    """`auto`, or the bytes of a worker."""
    try:
        num_bytes = limit if limit == "auto" else TypeAdapter(Size).validate_python(limit)
    except ValueError:
        raise ValueError(f"{limit!r} is not a size such as 4GiB or 500MB, nor auto") from None
    if num_bytes != "auto" and num_bytes < MIN_WORKER_BYTES:
        raise ValueError(f"{limit!r} is too little for a worker to start; give 128MiB or more, such as 4GiB")
    return num_bytes


class ClusterSettings(Settings):
    """Where the Dask tasks run."""

    kind: Literal["local", "address", "slurm"] = "local"

    """`local` starts worker processes on this machine, on loopback only; `address` uses a running scheduler;
    `slurm` submits workers as jobs (extra `slurm`). All workers must see input and output under the same paths."""
    address: str | None = None
    slurm: SlurmSettings | None = None
    workers: int | None = Field(default=None, ge=1, le=1024)
    """Worker processes of a local cluster; null: one per CPU core, at most 8, and no more than blocks of input. Of
    Slurm the number of jobs."""
    memory_limit: Annotated[int | Literal["auto"], BeforeValidator(_worker_size)] = "auto"
    """Memory of each local worker, such as 4GiB; `auto` shares out the machine's memory."""
    tls: TlsSettings | None = None
    insecure: bool = False
    """Allow a plain tcp:// scheduler that is not on loopback; whoever reaches such a port can run code on it."""

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
                "kind: address goes with an address such as tcp://127.0.0.1:8786, kind: local with none"
            )
        if (self.kind == "slurm") != (self.slurm is not None):
            raise ValueError("kind: slurm goes with slurm.host, and the other kinds without a part slurm")
        if self.kind == "slurm" and (self.workers is None or self.memory_limit == "auto"):
            raise ValueError(
                "kind: slurm needs workers, the number of jobs, and a memory_limit for each, such as 4GiB"
            )
        if self.address is not None:
            _check_address(self.address, self.tls, self.insecure)
        return self


def _check_address(address: str, tls: TlsSettings | None, insecure: bool) -> None:
    parts = urlsplit(address)
    if parts.scheme not in {"tcp", "tls"} or not parts.hostname:
        raise ValueError(f"address {address!r} is not of the form tcp://host:port or tls://host:port")
    if (parts.scheme == "tls") != (tls is not None):
        raise ValueError("an address with tls:// goes with tls.ca, tls.cert and tls.key, one with tcp:// without")
    if parts.scheme == "tcp" and not insecure and not _is_loopback(parts.hostname):
        raise ValueError(
            f"address {address!r} is plain tcp beyond this machine, where anyone can run code on the cluster; "
            "use tls:// or set insecure to true"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class PrepareConfig(Settings):
    """The whole file."""

    input: InputSettings
    items: ItemsSettings | None = None
    ratings: RatingRules = RatingRules()
    split: Annotated[SplitRule, Field(discriminator="kind"), BeforeValidator(with_kind)] = RandomSplit(
        kind="random"
    )
    """Without a `kind`, fractions `test` and `valid` and a `seed` are those of `kind: random`."""
    shards: ShardSettings = ShardSettings()
    output: str = Field(min_length=1)
    overwrite: bool = False
    """Whether a dataset that stands at `output` may be replaced; it stays until the new one is complete, which
    takes room for both."""
    append: bool = False
    """Whether the input is added to the dataset at `output`. Its rules, which are to be given as they were, users,
    items and shards stay: what is known keeps its index, and what is new gets one behind."""
    cluster: ClusterSettings = ClusterSettings()

    @model_validator(mode="after")
    def _appends_what_can_be(self) -> PrepareConfig:
        if self.append and self.drops_rare:
            raise ValueError(
                "append: what ratings.min_user_ratings and min_item_ratings left out cannot be taken back; "
                "prepare all files anew"
            )
        return self

    @model_validator(mode="after")
    def _names_its_files_once(self) -> PrepareConfig:
        if self.split.kind == "files" and self.input.paths:
            raise ValueError("input.paths: with split.kind files, name the files as split.train and split.test")
        if self.split.kind != "files" and not self.input.paths:
            raise ValueError("key 'input.paths' is required; give it in the file or as input.paths=VALUE")
        return self

    @model_validator(mode="after")
    def _knows_the_time(self) -> PrepareConfig:
        if needs_timestamps(self.split) and self.input.columns.timestamp is None:
            instead = "; or set split.by to hash" if self.split.kind == "leave_n_out" else ""
            raise ValueError(
                f"split.kind {self.split.kind} goes by time: name the column as input.columns.timestamp{instead}"
            )
        return self

    @property
    def drops_rare(self) -> bool:
        """Whether users and items with few ratings are left out."""
        return max(self.ratings.min_user_ratings, self.ratings.min_item_ratings) > 1


def named_paths(config: PrepareConfig) -> Iterable[tuple[str, Split, Paths]]:
    """(key, role of the rows, paths) for each key that names rating files; the role is a split's name."""
    if config.split.kind != "files":
        yield "input.paths", "train", config.input.paths
        return
    yield "split.train", "train", config.split.train
    if isinstance(config.split.valid, tuple):
        yield "split.valid", "valid", config.split.valid
    yield "split.test", "test", config.split.test
