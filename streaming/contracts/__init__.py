"""What crosses the wire, and nothing else: typed messages, their decoding, ids and money."""
