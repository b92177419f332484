"""Publish announcements on the topic, and deliver them to a deployment's own webhook."""
