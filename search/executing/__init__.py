"""Where trials run: jobs, and Ray Tune's workers that do them."""
