"""This is what is leased on Akash: one file per deployment type."""
