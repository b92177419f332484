"""What is on a machine that is reached through SSH."""
