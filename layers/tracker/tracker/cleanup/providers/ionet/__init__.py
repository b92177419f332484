"""What is deployed at io.net: one file per deployment type."""
