"""The offline demonstration: a small network and the scanned digits that it is trained on."""
