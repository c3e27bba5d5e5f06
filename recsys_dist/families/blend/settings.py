"""Settings of a blend: none, since it is made of trained models."""

from __future__ import annotations

from typing import Literal

from recsys_dist.protocols.family import ModelSettings


class BlendSettings(ModelSettings):
    """`kind` alone."""

    kind: Literal["blend"] = "blend"
