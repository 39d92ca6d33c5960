"""TorchScript payloads, which are code: what they would run is held against lists before torch sees them. Without torch."""
