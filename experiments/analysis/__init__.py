"""What explains a winner; the report and TensorBoard draw it."""
