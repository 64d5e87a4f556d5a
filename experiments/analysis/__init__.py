"""The analysis of a winner, which the report and TensorBoard show."""
