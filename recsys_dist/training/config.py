"""The settings of a training run: `configs/mf.yaml`, `configs/autorec_item.yaml`, `configs/autorec_user.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from recsys_dist.config import Settings
from recsys_dist.sizes import Size

MOST_UNITS = 65536
Activation = Literal["identity", "sigmoid", "tanh", "relu", "elu"]


class MfSettings(Settings):
    """Matrix factorization by EM (DESIGN: r_ui ~ Normal(mu + b_u + c_i + p_u . q_i, sigma^2))."""

    kind: Literal["mf"]
    factors: int = Field(default=32, ge=0, le=256)
    """K, the length of p_u and q_i; 0 leaves the biases alone. Epochs cost about K^2, and more K does no harm."""
    posterior: Literal["point", "diagonal", "full"] = "full"
    """`full` keeps a covariance for each user and item, `diagonal` a variance for each of their numbers (epochs
    cost about K, not K^2), `point` only the most probable factors."""
    prior: Literal["fixed", "adaptive"] = "adaptive"
    """`adaptive` learns prior means and full covariances of both sides; `fixed` is ridge regression."""
    regularization: float = Field(default=5.0, gt=0)
    """lambda of the ridge with `prior: fixed`: noise variance over prior variance. Which is best depends on the
    data and on the scale of its ratings, as in every ALS; the adaptive prior depends on neither."""
    constrained: Literal["auto", "none", "users", "items", "both"] = "auto"
    """Whose prior mean depends on what they are rated with (constrained PMF). `auto` tries it out in training."""
    constrained_regularization: float | None = Field(default=None, gt=0)
    """lambda of the constrained priors: how many ratings the prior of an effect is worth; null tries it out."""
    noise: Literal["auto", "shared", "users", "both"] = "auto"
    """Whose ratings scatter differently: a precision of its own for each user, or each user and item."""
    tolerance: float = Field(default=1e-4, ge=0)
    """Training is over once an epoch raises the likelihood bound by less than this much per rating; 0: never. With
    `posterior: point` and `prior: fixed`: lowers the penalised squared error by less than twice this share."""

    @model_validator(mode="after")
    def _extensions_need_an_adaptive_prior(self) -> MfSettings:
        if self.prior == "fixed" and self.constrained in {"users", "items", "both"}:
            raise ValueError("constrained: needs prior: adaptive; with prior: fixed use constrained: none")
        if self.prior == "fixed" and self.noise in {"users", "both"}:
            raise ValueError("noise: that differs needs prior: adaptive; with prior: fixed use noise: shared")
        return self


def _as_layers(value: Any) -> Any:
    """One hidden layer may be written without the brackets of a list."""
    layers = value if isinstance(value, list | tuple) else [value]
    if not layers or not all(_is_number_of_units(units) for units in layers):
        raise ValueError(f"takes units from 1 to {MOST_UNITS}, or a list such as [500, 250, 500], not {value!r}")
    return tuple(layers)


def _is_number_of_units(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_UNITS


class AutorecSettings(Settings):
    """AutoRec (Sedhain et al. 2015)."""

    kind: Literal["autorec"]
    orientation: Literal["items", "users"] = "items"
    """What one row of the autoencoder is: an item with its users (I-AutoRec) or a user with its items."""
    hidden: Annotated[tuple[int, ...], BeforeValidator(_as_layers)] = (500,)
    """Units of the hidden layers: a number, or a list such as [500, 250, 500] from the first to the last."""
    tied: bool = False
    """Whether the decoder is the encoder turned around, which halves the parameters; first and last hidden layer
    then have equally many units."""
    hidden_activation: Activation = "sigmoid"
    output_activation: Literal["identity", "sigmoid"] = "identity"
    """`sigmoid` is scaled to the rating range, so that no prediction leaves it."""
    regularization: float | None = Field(default=None, ge=0)
    """lambda of lambda/2 (|V|^2 + |W|^2), beside the squared errors of all ratings. Errors count in units of the
    standard deviation around row and column biases, so one lambda serves rating scales of any width. null tries it
    out in training, from 200 on."""
    centring: Literal["biases", "mean"] = "biases"
    """What is taken off the ratings of the input: mean and learnt row and column biases, or the mean alone."""
    presence: float | None = Field(default=None, ge=0, le=100)
    """What the input of each rating has added to it whatever the rating is, in standard deviations: which columns
    a row has rated tells of it where people choose what they rate. null tries it out in training, from 0 on."""
    length_power: float = Field(default=0.0, ge=0, le=1)
    """The input of a row is divided by this power of how many ratings it has, against those of an average row."""
    input_dropout: float | None = Field(default=None, ge=0, lt=1)
    """The share of a row's ratings that the encoder does not see in training; all of them are predicted. null
    tries it out in training, from 0.2 (rows are items) or 0.5 (users) on; 0 with lbfgs."""
    hidden_dropout: float | None = Field(default=0.0, ge=0, lt=1)
    """The share of units of the last hidden layer left out in training. null tries it out in training, from 0 on;
    beside input dropout it has brought nothing where it was measured (ML-1M: RMSE less by .0002 and .0004)."""
    optimizer: Literal["adam", "rowwise_rmsprop", "rprop", "lbfgs"] = "adam"
    """`adam` and `rowwise_rmsprop` step after each batch. `rowwise_rmsprop` keeps one number a column in place of
    Adam's moments, a third of the memory; as accurate on many ratings, less so on few. `rprop` (Riedmiller & Braun
    1993) and `lbfgs` (Liu & Nocedal 1989) step once an epoch, on the gradient of all ratings, with one exchange
    between ranks an epoch and no schedule. `lbfgs` takes 30 times the memory of the parameters, a pass more where
    its line search needs it, and ends by itself."""
    learning_rate: float = Field(default=0.005, gt=0)
    """The highest of Adam and row-wise RMSprop: rises over the first tenth of the steps, then falls to 0 along
    half a cosine. Of Rprop the first step of each parameter. L-BFGS has none."""
    accumulation: int = Field(default=1, ge=1)
    """Batches whose gradients are added up before a step of Adam or row-wise RMSprop: rows of a step beyond what
    fits at once."""
    parallel: Literal["auto", "ddp", "sharded"] = "auto"
    """How ranks share the work. `ddp`: each has all parameters and some rows, and gradients of all parameters
    travel. `sharded`: each has the parameters of some columns and sees all rows, and hidden units travel. `auto`
    takes what receives less."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """Of the products of the layers between the first and the last hidden units, in training. bfloat16 is faster
    where the processor has it, and refused where it has not; it rounds to 3 digits, so that different numbers of
    ranks agree to as many. All else, predictions included, stays in float32."""
    gradient_clip: float | None = Field(default=None, gt=0)
    """The largest norm of a step's gradient, which is scaled down to it; null: as it is."""
    batch_size: int = Field(default=1024, ge=1)
    """Rows that are computed together, over all ranks; those of a step, where it is not of all and nothing
    accumulates."""

    @property
    def is_full_batch(self) -> bool:
        """Whether an epoch is one step."""
        return self.optimizer in ("rprop", "lbfgs")

    @model_validator(mode="after")
    def _ties_equal_layers(self) -> AutorecSettings:
        if self.tied and self.hidden[0] != self.hidden[-1]:
            raise ValueError(f"tied: needs equally many units first and last, but hidden is {list(self.hidden)}")
        return self

    @model_validator(mode="after")
    def _computes_something(self) -> AutorecSettings:
        if self.compute != "float32" and len(self.hidden) == 1:
            raise ValueError(
                f"compute: {self.compute} is for the layers between several hidden ones, as in hidden: "
                f"[500, 250, 500]; hidden is {self.hidden[0]}"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_optimizer(self) -> AutorecSettings:
        if self.is_full_batch and self.accumulation > 1:
            raise ValueError(
                f"accumulation: is for adam and rowwise_rmsprop; {self.optimizer} adds up all batches of an epoch "
                "as it is"
            )
        if self.optimizer != "lbfgs":
            return self
        if self.parallel == "sharded":
            raise ValueError("parallel: sharded does not go with optimizer: lbfgs; use ddp, or rprop or adam")
        if self.input_dropout or self.hidden_dropout:
            raise ValueError(
                "optimizer: lbfgs needs an objective that stays the same: set input_dropout and hidden_dropout to "
                "0, or use rprop or adam"
            )
        if self.compute != "float32":
            raise ValueError(f"compute: {self.compute} is too coarse for the line search of optimizer: lbfgs")
        if self.gradient_clip is not None:
            raise ValueError("gradient_clip: set it to null with optimizer: lbfgs, whose line search bounds steps")
        return self


MOST_SECONDS = 30 * 24 * 3600.0
"""A month: longer than anyone waits, and what timeouts of sockets can hold."""


class TrainingSettings(Settings):
    """How long to train, and what to tell meanwhile."""

    epochs: int = Field(default=20, ge=1)
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many epochs in a row without a better validation RMSE; null trains all epochs."""
    timeout_s: float = Field(default=600.0, gt=0, le=MOST_SECONDS)
    """How long a rank waits for the others before it gives up."""
    memory_limit: Size | None = Field(default=None, ge=1)
    """What one rank may take for ratings and for tables of others, such as 4GiB. Past it mf reads the ratings anew
    on every pass and lets item tables travel in blocks; null: all stays in memory. With autorec, what a rank may
    take for parameters, gradients and optimizer: more is refused before the start."""
    tensorboard: bool = False
    """Write each epoch to RUN_DIR/tensorboard too; needs a local run_dir and the extra `tensorboard`."""


class CheckpointSettings(Settings):
    """When to save, and how much to keep."""

    every: int = Field(default=1, ge=1)
    """Save each so many epochs; the last epoch is always saved."""
    keep: int = Field(default=2, ge=1)
    """Committed checkpoints to keep: the newest ones, and always the best by validation RMSE."""


class TrainConfig(Settings):
    """The whole file."""

    dataset: str = Field(min_length=1)
    run_dir: str = Field(min_length=1)
    start_from: str | None = None
    """RUN_DIR of an earlier run on this dataset or on one that it has grown from (prepare --append): the new run
    begins with what that one has learnt. Users and items that were not there begin at the priors, or in an AutoRec
    where they do in any training."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    model: Annotated[MfSettings | AutorecSettings, Field(discriminator="kind")]
    training: TrainingSettings = TrainingSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()


def result_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration, as plain values, says of the model that comes of it, by dotted names."""
    model = dict(tree.get("model") or {})
    # It changes rounding alone, as the number of ranks does.
    model.pop("parallel", None)
    return {
        **{f"model.{key}": value for key, value in model.items()},
        **{key: tree.get(key) for key in ("seed", "start_from")},
    }
