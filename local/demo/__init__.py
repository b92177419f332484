"""The demo: deployments that end in different ways on a stack on this machine, and are checked to be gone."""
