"""Records read from JSON that other commands wrote."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys_dist.errors import DataError


class Record(BaseModel):
    """Base class of the records that a report reads; keys that it does not show are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def parse(cls, data: bytes, source: str) -> Self:
        """Read JSON. Raises `DataError` that names `source` and the first key that is missing or wrong."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = "".join(f"{part}: " for part in (".".join(str(key) for key in first["loc"]),) if part)
            raise DataError(f"{source}: {where}{first['msg']}") from None
