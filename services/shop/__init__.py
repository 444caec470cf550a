"""A simulated shop on real purchases: a customer of the system like any other, through Kafka alone."""
