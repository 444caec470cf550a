"""Pretraining on a shop's own texts: causal, masked words, next session. Texts, collators, shapes, figures. No Kafka."""
