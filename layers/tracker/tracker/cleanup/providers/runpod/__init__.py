"""What is at RunPod: one file per deployment type."""
