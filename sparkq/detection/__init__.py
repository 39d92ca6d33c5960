"""Detection: from the raw outputs of an SSD-style network to boxes, and how good they are."""
