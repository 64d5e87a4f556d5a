"""The outcome of a search: retraining, the winner, its numbers, the tables."""
