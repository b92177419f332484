"""This is what runs at Render: one file per deployment type, and the signature of requests."""
