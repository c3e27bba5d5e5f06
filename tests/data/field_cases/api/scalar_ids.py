"""usage: scalar_ids.py MODEL_DIR, a model that knows user 196 and others (MovieLens 100K)"""

import sys

import pyarrow as pa

import recsys_dist

m = recsys_dist.load_model(sys.argv[1])
for u in pa.table({"u": ["196", "1"]})["u"]:
    print(repr(u), [r.user_id for r in m.recommend(u, 1)])
