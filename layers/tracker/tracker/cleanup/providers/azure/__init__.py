"""The deployment types in Azure, one file each, and Azure Resource Manager, which they share."""
