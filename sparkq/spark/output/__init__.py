"""Runs on storage: written, committed, resumed, quarantined and read again."""
