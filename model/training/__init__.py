"""Training of any model of `transformers`: run directories, the loop, collators, PEFT by name, trackers. No Kafka."""
