"""The embedded default: real Apache Kafka and real Redis as child processes of one machine."""
