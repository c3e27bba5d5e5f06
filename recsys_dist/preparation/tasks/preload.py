"""Imports that the fork server makes once for all workers.

Garbage collection is off meanwhile, as it takes a fifth of the import time. The imported objects are then frozen:
a collection in a worker would copy every memory page they are on. All of this runs at import, because the fork
server accepts only a list of modules.
"""

import gc

gc.disable()

import distributed  # noqa: E402, F401

import recsys_dist.preparation.tasks.tasks  # noqa: E402, F401

gc.freeze()
gc.enable()
