"""What is rented from GPU clouds and their marketplaces: one file per deployment type."""
