"""What is on one machine, or reached as if it were: Docker, Kubernetes, hypervisors."""
