"""What `/openapi.json` says: every status, media type and shape that a route takes or answers."""

from serve.openapi.document import describe_api

__all__ = ["describe_api"]
