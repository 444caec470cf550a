"""Message texts written elsewhere, by any model that is spoken to in words: what it is asked, and what its answer says. Pure."""
