"""What is at TensorDock: one file per deployment type."""
