"""The deployment state machine: every change of a record is one of its transitions."""
