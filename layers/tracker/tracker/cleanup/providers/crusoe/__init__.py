"""This is what is rented at Crusoe: one file per deployment type, the API that they share, and the signature of requests."""
