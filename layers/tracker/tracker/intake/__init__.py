"""Read and validate HTTPS calls and events, and write the replies."""
