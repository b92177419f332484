"""The ways to reach a provider or a machine (REST, Kubernetes, SSH, Docker), and the credentials for them."""
