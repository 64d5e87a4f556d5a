"""What a search says about itself: importance, noise, expected gain."""
