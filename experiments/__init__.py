"""What a person launches and reads: the command line, runs, reports and benchmarks."""
