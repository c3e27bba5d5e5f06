"""What the workers' parent imports once for all of them, before they are forked from it.

Imported with the search for cycles off, which takes a fifth of the time of imports, and kept from it for good: a
worker that searched these modules would also get a copy of each page they lie on.
"""

import gc

gc.disable()

import distributed  # noqa: E402, F401

import recsys_dist.data.tasks  # noqa: E402, F401

gc.freeze()
gc.enable()
