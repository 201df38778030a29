"""The service under random faults."""
