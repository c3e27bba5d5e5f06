"""`recsys-dist recommend` as a script of a checkout."""

from checkout import run

if __name__ == "__main__":
    run("recommend")
