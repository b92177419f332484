"""This is what is at Hetzner: one file per deployment type, and the API that they share."""
