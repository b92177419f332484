"""The deployment types on one machine, or reached as if they were: Docker, Kubernetes, hypervisors."""
