"""Images in, tensors out: reading, checking, dividing, augmenting and making data."""
