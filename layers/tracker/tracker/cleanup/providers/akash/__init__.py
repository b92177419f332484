"""What is leased on Akash: one file per deployment type."""
