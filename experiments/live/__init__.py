"""Views of a running search, and requests to it."""
