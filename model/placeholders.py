"""The blanks of a delexicalised message, filled by `message.py`: names, numbers and categories never pass sampling."""

PLACEHOLDERS = ("{product}", "{campaign}", "{category}", "{discount}", "{days}")
"""Written by the model as single tokens; a message may hold only those that its decision can fill."""
