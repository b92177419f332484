"""This is what is at Fluidstack: one file per deployment type, and the API that they share."""
