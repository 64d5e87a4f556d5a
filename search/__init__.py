"""Which configuration next, and where it runs: Optuna behind Ray Tune adapters."""
