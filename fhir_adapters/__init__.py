"""FHIR R4 on the outside, plain notes and scores on the inside. Pure functions; nothing heavy is imported from here."""
