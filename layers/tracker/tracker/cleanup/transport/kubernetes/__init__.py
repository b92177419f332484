"""Kubernetes clusters: the connection, the objects in them, and the namespaces that hold these."""
