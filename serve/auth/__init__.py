"""Who calls, and what they may do: bearer JWTs, CDS Hooks JWTs, logging in to pages."""
