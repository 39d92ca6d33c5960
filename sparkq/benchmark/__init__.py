"""``sparkq benchmark``: every figure a median of rounds with its spread, every comparison a ratio within one round."""
