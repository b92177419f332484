"""The sample of CONTRIBUTING.md, "Add a deployment type": the file of a type, and its test, as they would be written for a provider."""
