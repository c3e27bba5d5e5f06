import sys

import recsys_dist

m = recsys_dist.load_model(sys.argv[1])
print(m.predict([2**64 - 1], [1]))
print(m.predict([2**64 - 1, 5], [1, 1]))
