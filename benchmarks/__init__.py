"""Benchmarks: ratios against a reference taken in the same run. `make bench` prints the table."""
