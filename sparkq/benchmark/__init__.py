"""``sparkq benchmark`` gives every figure as a median of rounds with its spread, every comparison as a ratio within a round."""
