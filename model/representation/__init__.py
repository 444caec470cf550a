"""Representations of products: an encoder of their texts learned from what is bought together, and what it makes of each. No Kafka."""
