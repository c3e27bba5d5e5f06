"""What the workers' parent imports once for all of them, before they are forked from it.

Imported with the search for cycles off, which takes a fifth of the time of imports, and kept from it for good: a
worker that searched these modules would also get a copy of each page they lie on. All of it happens on the import,
since what to import is all that a process to fork from can be told.
"""

import gc

gc.disable()

import distributed  # noqa: E402, F401

import recsys_dist.preparation.tasks.tasks  # noqa: E402, F401

gc.freeze()
gc.enable()
