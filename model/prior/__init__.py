"""What a response run knows, told to the critic: as its prior, and as the model of the reward in evaluation. No Kafka."""
