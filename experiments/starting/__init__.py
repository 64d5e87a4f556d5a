"""`shiftsearch init`: an experiment file that fits a person's own images."""
