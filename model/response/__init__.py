"""The response model: who answers an ad, by behaviour and by the ad's text; told honestly beside simpler models. No Kafka."""
