"""Figures of each epoch as TensorBoard scalars, for `tensorboard --logdir RUN_DIR/tensorboard`.

Needs the extra `tensorboard`, and a run folder on a local disk, since TensorBoard appends to its files and object
stores cannot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from recsys_dist.errors import ConfigError
from recsys_dist.storage.folder import Folder
from recsys_dist.training.run_folder import TENSORBOARD
from recsys_dist.training.trackers.protocol import ExperimentTracker

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(ExperimentTracker):
    """Writes scalars by epoch; purges earlier entries of epochs that are trained again."""

    is_remote: ClassVar[bool] = False

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        if not folder.is_local:
            raise ConfigError(
                f"training.trackers: tensorboard needs a local run_dir, but {folder.url} is a URL; leave "
                "tensorboard out"
            )
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra, and slow to import

        self._new_writer = SummaryWriter
        self._writer: SummaryWriter | None = None
        self._epoch = 0

    def open(self, parameters: Mapping[str, Any], epochs_done: int) -> None:
        """Create a file, whose first entry is the configuration as text."""
        path, self._epoch = self.folder.local_path(TENSORBOARD), epochs_done
        self._writer = self._new_writer(str(path), purge_step=epochs_done + 1)
        text = yaml.safe_dump(dict(parameters), sort_keys=False, allow_unicode=True)
        # Four blanks: a block of code in Markdown.
        self._writer.add_text("configuration", "".join(f"    {line}\n" for line in text.splitlines()), 0)

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Write the figures of one epoch to disk."""
        self._epoch = epoch
        self._add(figures)

    def close(self, outcome: str, figures: Mapping[str, float]) -> None:
        """Write the final figures and close the file."""
        if self._writer is not None:
            self._writer.add_text("outcome", outcome, self._epoch)
            self._add(figures)
            self._writer.close()
            self._writer = None

    def _add(self, figures: Mapping[str, float]) -> None:
        assert self._writer is not None, "open comes first"
        for name, figure in figures.items():
            self._writer.add_scalar(name, figure, self._epoch)
        self._writer.flush()
