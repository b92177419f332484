"""The survey: what carries our mark at a provider and is claimed by no record. Only the survey function imports it."""
