"""What is at Prime Intellect: one file per deployment type."""
