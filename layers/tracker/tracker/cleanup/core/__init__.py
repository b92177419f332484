"""The cleanup itself, for any provider: the contract of a deployment type, the engine, the workflow's step and the plan."""
