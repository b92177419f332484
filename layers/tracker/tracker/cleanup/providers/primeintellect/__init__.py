"""This is what is at Prime Intellect: one file per deployment type."""
