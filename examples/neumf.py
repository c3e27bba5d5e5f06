"""Neural matrix factorization (He et al. 2017) as a custom model family, complete in this file.

recsys-dist train --config examples/neumf.yaml dataset=DATASET run_dir=RUN_DIR
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from recsys_dist import PairFamily, PairSettings


class NeuMFSettings(PairSettings):
    kind: Literal["neumf"] = "neumf"
    factors: int = Field(default=16, ge=1)
    hidden: tuple[int, ...] = (32, 16)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class NeuMFModule(nn.Module):
    def __init__(self, num_users: int, num_items: int, settings: NeuMFSettings, mean: float) -> None:
        super().__init__()
        rows = {"user": num_users + 1, "item": num_items + 1}
        self.gmf = nn.ModuleDict({side: nn.Embedding(count, settings.factors) for side, count in rows.items()})
        self.mlp = nn.ModuleDict({side: nn.Embedding(count, settings.factors) for side, count in rows.items()})
        self.bias = nn.ModuleDict({side: nn.Embedding(count, 1) for side, count in rows.items()})
        widths = (2 * settings.factors, *settings.hidden)
        layers = [[nn.Linear(a, b), nn.ReLU(), nn.Dropout(settings.dropout)] for a, b in pairwise(widths)]
        self.layers = nn.Sequential(*(layer for block in layers for layer in block))
        self.out = nn.Linear(settings.factors + widths[-1], 1)
        nn.init.constant_(self.out.bias, mean)
        for table in (*self.gmf.values(), *self.mlp.values(), *self.bias.values()):
            nn.init.normal_(table.weight, std=0.05)

    def forward(self, user_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        gmf_NK = self.gmf["user"](user_N) * self.gmf["item"](item_N)
        mlp_NH = self.layers(torch.cat([self.mlp["user"](user_N), self.mlp["item"](item_N)], 1))
        bias_N1 = self.bias["user"](user_N) + self.bias["item"](item_N)
        return (self.out(torch.cat([gmf_NK, mlp_NH], 1)) + bias_N1).squeeze(1)


class NeuMF(PairFamily[NeuMFSettings]):
    name, settings = "neumf", NeuMFSettings
    user_tables = ("gmf.user.weight", "mlp.user.weight", "bias.user.weight")
    item_tables = ("gmf.item.weight", "mlp.item.weight", "bias.item.weight")

    def build(self, settings, num_users, num_items, rating):
        return NeuMFModule(num_users, num_items, settings, rating.mean)

    def title(self, settings):
        return f"NeuMF, {settings.factors} factors"
