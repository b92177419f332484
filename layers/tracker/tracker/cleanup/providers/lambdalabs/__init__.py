"""What is at Lambda: one file per deployment type."""
