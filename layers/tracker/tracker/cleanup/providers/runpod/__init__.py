"""This is what is at RunPod: one file per deployment type."""
