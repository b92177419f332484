"""The DynamoDB table: `table` is its shape, `records` and `deliveries` read and write its items. Only this folder imports PynamoDB."""
