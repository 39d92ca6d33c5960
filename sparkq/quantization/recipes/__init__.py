"""The recipes: how a float model is made into an INT8 one, and which layers stay in float."""
