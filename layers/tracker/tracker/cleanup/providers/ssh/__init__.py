"""The deployment types on a machine that is reached through SSH."""
