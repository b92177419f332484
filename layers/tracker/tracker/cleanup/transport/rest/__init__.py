"""Providers with a REST API: the client (`client`), whose credential it has (`provider`), and how one resource goes (`kind`)."""
