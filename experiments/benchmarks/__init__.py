"""Benchmarks beside their plain twins; `make bench` runs all of them in their quick form."""
