"""This is what is rented at Lium: one file per deployment type."""
