"""What a program in Python uses: prepare, train, load, predict, evaluate."""
