"""One HTML page about a training run, to look at, to send and to print."""
