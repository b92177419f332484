"""This is what runs at CoreWeave: one file per deployment type."""
