"""Scorer of an AutoRec: a bilinear form, with fold-in by its encoder or by ridge regression."""

from __future__ import annotations

import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.errors import ConfigError
from recsys_dist.families.autorec.serving.facts import AutorecFacts, EncodeFoldIn
from recsys_dist.families.autorec.serving.fold_in import fold_in_encode, fold_in_ridge, row_encoder
from recsys_dist.families.autorec.serving.short_rows import ShortRows
from recsys_dist.families.bilinear.scorer import BilinearForm, BilinearUsers
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.protocols.portable import OnnxNetwork


class AutorecScorer(BilinearForm):
    """Implements the protocol of protocols/scorer.py."""

    uncertainty = None

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        self._folder, self._facts = folder, folder.facts(AutorecFacts)
        super().__init__(folder, device, self._facts.offset, self._facts.output_activation)

    def fold_in(self, item_N: torch.Tensor, rating_N: torch.Tensor, is_new: bool) -> BilinearUsers:
        """User-AutoRec: encode the user, and shrink short rows towards the average user (short_rows.py).
        Item-AutoRec: fit a new row of the decoder by ridge regression."""
        spec = self._facts.fold_in
        if isinstance(spec, EncodeFoldIn):
            share = ShortRows(spec.short_length, spec.short_pull).share(len(item_N)) if is_new else 1.0
            return fold_in_encode(spec, self._folder, item_N, rating_N, self.average_user, share)
        residual_N = rating_N.double() - self.offset - self.items.bias_R[item_N]
        return fold_in_ridge(spec, self.items.vector_RK[item_N], residual_N, self.average_user)

    def onnx_network(self) -> OnnxNetwork:
        """Encoder and decoder of a user-AutoRec, see onnx_graph.py."""
        from recsys_dist.families.autorec.serving.onnx_graph import onnx_network  # noqa: PLC0415 - needs onnx

        spec = self._facts.fold_in
        if not isinstance(spec, EncodeFoldIn):
            raise ConfigError(
                f"{self._folder.folder.url} cannot be exported to onnx: an item-AutoRec folds users in by a ridge "
                "regression, not by its encoder; train with model.orientation=users, or take --to parquet"
            )
        every_C = torch.arange(self.items.num_rows, device=self.device)
        encoder = row_encoder(spec, self._folder, every_C, self.device)
        rating = self._folder.manifest.rating
        return onnx_network(spec, encoder, self, rating.min, rating.max)

    def vectors(self, side: Side) -> torch.Tensor:
        """Vectors minus the average: with a positive activation all hidden states would look alike."""
        factors = self.users if side == "users" else self.items
        return factors.vector_RK[:-1] - factors.vector_RK[-1]
