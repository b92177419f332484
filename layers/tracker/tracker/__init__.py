"""The deployment tracker: what every function shares, laid out as on Lambda's /opt/python."""
