"""Suites of measurements, each with default settings. `python -m benchmarks.run SUITE` writes their figures."""
