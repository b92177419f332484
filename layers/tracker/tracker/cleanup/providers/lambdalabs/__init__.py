"""This is what is at Lambda: one file per deployment type."""
