"""AutoRec (Sedhain et al. 2015)."""
