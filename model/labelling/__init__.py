"""Less labelling: what to ask a person about next, what to propose, what two people make of the same row. Pure."""
