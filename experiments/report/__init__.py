"""The report of a finished run, and the analysis that explains its winner."""
