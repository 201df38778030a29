"""Names of the application and its deployments, as Ray's status and config files show them."""

from typing import Final

APPLICATION: Final = "lang1"
INGRESS: Final = "Ingress"
SCORER: Final = "Scorer"
STORE: Final = "Store"
INTAKE: Final = "Intake"
WRITER: Final = "Writer"
MONITOR: Final = "Monitor"
RETRAINING: Final = "Retraining"
CHALLENGER: Final = "Challenger"
GUARD: Final = "Guard"
EDGE_CALLBACK: Final = "serve.http.edge.proxy_middlewares"
