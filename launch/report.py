"""`recsys-dist report`, as a file to start from a checkout."""

from checkout import run

if __name__ == "__main__":
    run("report")
