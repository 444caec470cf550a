"""What may be said, how it is chosen, and what learns. No Kafka, Redis or Faust here."""
