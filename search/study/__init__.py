"""The study: Optuna's record of all trials, and the questions that the search asks it."""
