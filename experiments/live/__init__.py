"""What is seen of a search while it runs, and how it is steered."""
