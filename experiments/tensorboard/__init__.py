"""A run's TensorBoard folder."""
