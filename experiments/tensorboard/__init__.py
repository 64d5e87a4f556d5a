"""Writes a run's TensorBoard folder."""
