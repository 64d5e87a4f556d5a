"""The study: Optuna's record of all trials, and what is asked of it."""
