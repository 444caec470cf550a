"""A base learned from logged strategies and what they brought, and whether it may be served. No Kafka."""
