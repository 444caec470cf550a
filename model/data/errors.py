"""What stops a preparation: the user's files or arguments. Bad rows do not: they are quarantined."""


class Refused(Exception):
    """Something given cannot be used at all; the message names it and says what was wanted, in one line."""
