"""From a torch module to a program: its operators are recorded as torch runs them, and written in the program's own few."""
