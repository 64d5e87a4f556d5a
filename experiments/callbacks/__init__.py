"""Callbacks: a person's own classes, MLflow and W&B hear what happens in a search."""
