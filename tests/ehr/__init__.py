"""A FHIR server for tests: real HTTP on 127.0.0.1, in memory, with faults to order."""
