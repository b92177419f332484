"""This is what checkov finds about the templates, against the answers in findings.toml."""
