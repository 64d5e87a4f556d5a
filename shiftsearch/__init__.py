"""Finds the hyperparameters that carry an image classifier from one domain to another."""
