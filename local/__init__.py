"""The whole stack on one machine: the real template on MiniStack, without Docker or an AWS account."""
