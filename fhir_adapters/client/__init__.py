"""The service as a client of a FHIR server: reads, searches, writes, bulk export, and tokens by SMART Backend Services.

Nothing here logs; errors carry no id, no URL and no text of the server. Nothing heavy is imported from here.
"""
