"""This is what is rented at Vast.ai: one file per deployment type."""
