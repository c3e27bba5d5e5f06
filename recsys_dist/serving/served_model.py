"""The model that answers, and its replacement by a new one while requests go on.

A new model takes over when SIGHUP arrives, or when the `model.json` in the folder changes: another folder is
renamed to this name, or a symbolic link points to it. The new model is loaded beside the old one, which answers
until then. If it cannot be loaded, the old one stays.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from recsys_dist.api.model import Model, load_model
from recsys_dist.errors import DataError, RecsysDistError
from recsys_dist.inference.seen import MOST_BLOCKS
from recsys_dist.model_folder.manifest import MODEL_FILE
from recsys_dist.storage.folder import Folder

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 2.0
TRY_AGAIN_AFTER_S = 10.0
"""Pause before a model that could not be loaded is tried again: its files may still be on their way."""
NAMES_TO_WARM = "a"


@dataclass(frozen=True)
class Loaded:
    """A loaded model."""

    model: Model
    digest: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class ServedModel:
    """The model at a folder or URL, loaded, and loaded again when it changes.

    Raises `CheckpointError` if there is no model, `ConfigError` if its family or the device is unknown.
    """

    def __init__(self, url: str, device: str = "cpu", verify: bool = True) -> None:
        self.url, self._device, self._verify = url, device, verify
        self.failure: str | None = None
        """Why the newest model could not be loaded; None if it answers."""
        self._fingerprint: str | None = self._look()
        self._tried_at = time.monotonic()
        self.loaded = self._load()

    def reload(self) -> bool:
        """Load the model again; whether the new one has taken over."""
        self._fingerprint, self._tried_at = self._look(), time.monotonic()
        try:
            self.loaded = self._load()
        # Whatever is wrong with the new model, the old one must go on, and be replaced by the next one.
        except Exception as error:
            failure = str(error) if isinstance(error, RecsysDistError) else repr(error)
            if failure != self.failure:
                LOG.warning("the model before it still answers: %s", failure)
            self.failure = failure
            return False
        self.failure = None
        LOG.warning("%s answers: %s", self.loaded.digest[:12], self.loaded.model)
        return True

    def has_changed(self) -> bool:
        """Whether the folder holds another model than the one that was loaded last."""
        found = self._look()
        if found is None:
            return False
        is_due = self.failure is not None and time.monotonic() - self._tried_at >= TRY_AGAIN_AFTER_S
        return found != self._fingerprint or is_due

    def _load(self) -> Loaded:
        # The folder behind a symbolic link, so that files that are read later are of the same model.
        place = os.path.realpath(self.url) if Folder(self.url).is_local else self.url
        model = load_model(place, self._device, self._verify)
        _warm_up(model)
        return Loaded(model, model.manifest.contents_digest)

    def _look(self) -> str | None:
        """The hash of model.json; None while there is none."""
        with suppress(RecsysDistError, OSError):
            return hashlib.sha256(Folder(self.url).read_bytes(MODEL_FILE)).hexdigest()
        return None


def _warm_up(model: Model) -> None:
    """Make what the first requests would wait for; map the train ratings, so that the folder may be replaced."""
    starts = [shard.start for shard in model.manifest.user_shards if shard.start < shard.stop]
    model.recommend([model.user_ids[start] for start in starts[:MOST_BLOCKS]], 1)
    with suppress(DataError):  # it has no titles
        model.find_items(NAMES_TO_WARM, 1)


class Watcher:
    """A thread that reloads the model when it is asked to, and when the model changes if `looks`."""

    def __init__(self, served: ServedModel, looks: bool, on_reload: Callable[[bool], None]) -> None:
        self._served, self._looks, self._on_reload = served, looks, on_reload
        self._wake, self._is_asked, self._is_ending = threading.Event(), False, False
        self._thread = threading.Thread(target=self._work, name="reloads", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask(self) -> None:
        """Ask for a reload; may be called by a signal handler."""
        self._is_asked = True
        self._wake.set()

    def stop(self) -> None:
        """End the thread, after a reload that is going on."""
        self._is_ending = True
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._is_ending:
            self._wake.wait(LOOK_EVERY_S if self._looks else None)
            self._wake.clear()
            is_asked, self._is_asked = self._is_asked, False
            if not self._is_ending and (is_asked or (self._looks and self._served.has_changed())):
                self._on_reload(self._served.reload())
