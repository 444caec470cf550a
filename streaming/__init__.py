"""Events in, profiles, moments, attribution: a pure core and its Kafka and Redis edges."""
