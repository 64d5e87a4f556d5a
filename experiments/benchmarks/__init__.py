"""Benchmarks against plain implementations; `make bench` runs their quick form."""
