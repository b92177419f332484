"""This is what is on AWS: one file per deployment type, and the session that they share."""
