"""This is what is at DigitalOcean: one file per deployment type, and the API that they share."""
