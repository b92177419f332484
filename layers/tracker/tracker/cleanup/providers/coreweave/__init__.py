"""What runs at CoreWeave: one file per deployment type."""
