"""The hospital's FHIR server, as this service is its client."""
