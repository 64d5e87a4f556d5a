"""Importance of hyperparameters, noise between seeds, and expected gain of more trials."""
