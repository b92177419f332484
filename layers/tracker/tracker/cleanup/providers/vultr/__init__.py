"""This is what is at Vultr: one file per deployment type, and the API that they share."""
