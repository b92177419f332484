"""This is what is at TensorDock: one file per deployment type."""
