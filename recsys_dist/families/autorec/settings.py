"""The settings of an AutoRec: `model:` of `configs/autorec_item.yaml` and `configs/autorec_user.yaml`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from recsys_dist.protocols.family import ModelSettings

MOST_UNITS = 65536
Activation = Literal["identity", "sigmoid", "tanh", "relu", "elu"]


def _as_layers(value: Any) -> Any:
    """One hidden layer may be written without the brackets of a list."""
    layers = value if isinstance(value, list | tuple) else [value]
    if not layers or not all(_is_number_of_units(units) for units in layers):
        raise ValueError(f"takes units from 1 to {MOST_UNITS}, or a list such as [500, 250, 500], not {value!r}")
    return tuple(layers)


def _is_number_of_units(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_UNITS


class AutorecSettings(ModelSettings):
    """AutoRec (Sedhain et al. 2015)."""

    renamed: ClassVar[dict[str, str]] = {"presence": "implicit_input", "length_power": "length_normalization"}
    kind: Literal["autorec"] = "autorec"
    orientation: Literal["items", "users"] = "items"
    """What one row of the autoencoder is: an item with its users (I-AutoRec) or a user with its items."""
    hidden: Annotated[tuple[int, ...], BeforeValidator(_as_layers)] = (500,)
    """Units of the hidden layers: a number, or a list such as [500, 250, 500] from the first to the last."""
    tied: bool = False
    """Whether the decoder is the encoder transposed, which halves the parameters; first and last hidden layer
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
    implicit_input: float | None = Field(default=None, ge=0, le=100)
    """What the input of each rating has added to it whatever the rating is, in standard deviations: which columns
    a row has rated tells of it where people choose what they rate. null tries it out in training, from 0 on."""
    length_normalization: float = Field(default=0.0, ge=0, le=1)
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
