"""This is what is deployed at io.net: one file per deployment type."""
