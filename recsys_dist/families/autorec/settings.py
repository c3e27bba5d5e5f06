"""Settings of AutoRec: `model:` in `configs/autorec_item.yaml` and `configs/autorec_user.yaml`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from recsys_dist.protocols.family import ModelSettings

MOST_UNITS = 65536
Activation = Literal["identity", "sigmoid", "tanh", "relu", "elu"]


def _as_layers(value: Any) -> Any:
    """A single hidden layer may be given as a number instead of a list."""
    layers = value if isinstance(value, list | tuple) else [value]
    if not layers or not all(_is_number_of_units(units) for units in layers):
        raise ValueError(
            f"must be a number of units from 1 to {MOST_UNITS}, or a list such as [500, 250, 500], not {value!r}"
        )
    return tuple(layers)


def _is_number_of_units(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_UNITS


class AutorecSettings(ModelSettings):
    """AutoRec (Sedhain et al. 2015)."""

    renamed: ClassVar[dict[str, str]] = {"presence": "implicit_input", "length_power": "length_normalization"}
    kind: Literal["autorec"] = "autorec"
    orientation: Literal["items", "users"] = "items"
    """Rows of the autoencoder: items with their users (I-AutoRec) or users with their items (U-AutoRec)."""
    hidden: Annotated[tuple[int, ...], BeforeValidator(_as_layers)] = (500,)
    """Units of the hidden layers: a number, or a list such as [500, 250, 500] from first to last."""
    tied: bool = False
    """Use the transposed encoder as decoder, which halves the parameters. The first and the last hidden layer
    must then have the same number of units."""
    hidden_activation: Activation = "sigmoid"
    """g, the activation of the hidden units."""
    output_activation: Literal["identity", "sigmoid"] = "identity"
    """`sigmoid` is scaled to the rating range, which bounds the predictions."""
    regularization: float | None = Field(default=None, ge=0)
    """lambda of lambda/2 (|V|^2 + |W|^2), added to the squared errors of all ratings. Errors are in units of the
    standard deviation around row and column biases, so the same lambda suits any rating scale. null tunes it
    during training, starting at 200."""
    centring: Literal["biases", "mean"] = "biases"
    """Subtracted from the input ratings: the mean and learnt row and column biases, or only the mean."""
    implicit_input: float | None = Field(default=None, ge=0, le=100)
    """Constant added to every observed input, in standard deviations, so that whether a column was rated counts
    too. null tunes it during training, starting at 0."""
    length_normalization: float = Field(default=0.0, ge=0, le=1)
    """Divide the input of a row by this power of its number of ratings, relative to the average row."""
    input_dropout: float | None = Field(default=None, ge=0, lt=1)
    """Share of a row's ratings hidden from the encoder in training; the decoder predicts all of them. null tunes
    it during training, starting at 0.2 (rows are items) or 0.5 (users); 0 with lbfgs."""
    hidden_dropout: float | None = Field(default=0.0, ge=0, lt=1)
    """Share of the last hidden layer's units dropped in training. null tunes it during training, starting at 0.
    With input dropout it brought nothing where measured (ML-1M: RMSE lower by .0002 and .0004)."""
    optimizer: Literal["adam", "rowwise_rmsprop", "rprop", "lbfgs"] = "adam"
    """`adam` and `rowwise_rmsprop` step after each batch. `rowwise_rmsprop` keeps one number per column instead of
    Adam's moments, a third of the memory; as accurate on many ratings, less accurate on few. `rprop` (Riedmiller &
    Braun 1993) and `lbfgs` (Liu & Nocedal 1989) take one step per epoch on the gradient of all ratings, with one
    exchange between ranks per epoch and no learning rate schedule. `lbfgs` needs 30 times the memory of the
    parameters and extra passes for its line search, and stops by itself."""
    learning_rate: float = Field(default=0.005, gt=0)
    """Peak rate of Adam and row-wise RMSprop: linear warm-up over the first tenth of the steps, times a cosine
    decay to 0. For Rprop, the initial step of each parameter. Not used by L-BFGS."""
    accumulation: int = Field(default=1, ge=1)
    """Batches whose gradients are accumulated before a step of Adam or row-wise RMSprop."""
    parallel: Literal["auto", "ddp", "sharded"] = "auto"
    """How ranks share the work. `ddp`: each rank has all parameters and some of the rows; gradients of all
    parameters are all-reduced. `sharded`: each rank has all rows and the parameters of some columns; hidden units
    are all-reduced. `auto` takes the one with less communication."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """Precision of the products between hidden layers in training. bfloat16 is faster on processors that support
    it, and refused on others. It rounds to 3 digits, so different numbers of ranks agree only to 3 digits.
    Everything else, including predictions, is float32."""
    gradient_clip: float | None = Field(default=None, gt=0)
    """Largest norm of a step's gradient; larger gradients are scaled down. null: no clipping."""
    batch_ratings: int | None = Field(default=None, ge=1)
    """Train ratings per batch, about, over all ranks; a batch has whole rows. null: the ratings of 256 average
    items or 1024 average users, or more where these have few ratings. A step takes `accumulation` batches, or all
    with Rprop and L-BFGS."""

    @property
    def is_full_batch(self) -> bool:
        """Whether an epoch is a single step."""
        return self.optimizer in ("rprop", "lbfgs")

    @model_validator(mode="after")
    def _ties_equal_layers(self) -> AutorecSettings:
        if self.tied and self.hidden[0] != self.hidden[-1]:
            raise ValueError(
                f"tied: needs as many units in the last layer as in the first, but hidden is {list(self.hidden)}"
            )
        return self

    @model_validator(mode="after")
    def _computes_something(self) -> AutorecSettings:
        if self.compute != "float32" and len(self.hidden) == 1:
            raise ValueError(
                f"compute: {self.compute} needs several hidden layers, as in hidden: "
                f"[500, 250, 500]; hidden is {self.hidden[0]}"
            )
        return self

    @model_validator(mode="after")
    def _fits_the_optimizer(self) -> AutorecSettings:
        if self.is_full_batch and self.accumulation > 1:
            raise ValueError(
                f"accumulation: works with adam and rowwise_rmsprop; {self.optimizer} already accumulates all "
                "batches of an epoch; set it to 1"
            )
        if self.optimizer != "lbfgs":
            return self
        if self.parallel == "sharded":
            raise ValueError("parallel: sharded does not work with optimizer: lbfgs; use ddp, or rprop or adam")
        if self.input_dropout or self.hidden_dropout:
            raise ValueError(
                "optimizer: lbfgs needs a deterministic objective: set input_dropout and hidden_dropout to "
                "0, or use rprop or adam"
            )
        if self.compute != "float32":
            raise ValueError(
                f"compute: {self.compute} is too coarse for the line search of optimizer: lbfgs; set float32"
            )
        if self.gradient_clip is not None:
            raise ValueError("gradient_clip: set it to null with optimizer: lbfgs, where line search bounds steps")
        return self
