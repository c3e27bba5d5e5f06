"""Metrics of each epoch as TensorBoard scalars, for `tensorboard --logdir RUN_DIR/tensorboard`.

Needs the extra `tensorboard`, and a run folder on a local disk, since TensorBoard appends to its files and object
stores cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recsys_dist.errors import ConfigError
from recsys_dist.extras import how_to_install
from recsys_dist.storage.folder import Folder
from recsys_dist.training.run_folder import TENSORBOARD

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class ScalarLog:
    """Writes scalars by epoch; purges earlier entries of the same and of later epochs.

    Raises `ConfigError` if the folder is not local or TensorBoard is not installed, before anything is written.
    """

    def __init__(self, folder: Folder) -> None:
        if not folder.is_local:
            raise ConfigError(
                f"training.tensorboard needs a local run_dir, but {folder.url} is a URL; set it to false"
            )
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra, and slow to import
        except ImportError as error:
            raise ConfigError(
                f"training.tensorboard: {error}; {how_to_install('tensorboard')}, or set it to false"
            ) from error
        self._new_writer = SummaryWriter
        self._path = str(folder.local_path(TENSORBOARD))
        self._writer: SummaryWriter | None = None

    def add(self, epoch: int, figures: Mapping[str, float | None]) -> None:
        """Write the figures of one epoch to disk, except those that are None."""
        if self._writer is None:
            self._writer = self._new_writer(self._path, purge_step=epoch)
        for name, figure in figures.items():
            if figure is not None:
                self._writer.add_scalar(name, figure, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
