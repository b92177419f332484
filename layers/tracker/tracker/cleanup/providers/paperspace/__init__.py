"""This is what is at Paperspace: one file per deployment type, and the API that they share."""
