"""The command line, runs, reports and benchmarks."""
