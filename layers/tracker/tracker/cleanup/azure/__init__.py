"""What is in Azure: one file per deployment type, and Azure Resource Manager, which they share."""
