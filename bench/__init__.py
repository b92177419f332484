"""This is how the tracker measures up: ratios, each of two things timed in the same run. `make bench` runs all of them."""
