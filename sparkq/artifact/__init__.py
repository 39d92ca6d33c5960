"""The artifact's file format: manifest, payload, calibration profile; written by the driver, read by workers."""
