"""An Alertmanager configuration that routes alerts by their labels: people by severity, the service by remedy."""

from __future__ import annotations

from typing import Any, Final

from monitoring.rules import RETRAIN

WEBHOOK_PATH: Final = "/v1/retraining/alerts"
EXAMPLE_URL: Final = "https://lang1.example.org"
EXAMPLE_TOKEN_FILE: Final = "/etc/alertmanager/lang1-token"  # noqa: S105 - a path
MAX_ALERTS: Final = 100
HEAD: Final = """\
# Made from monitoring/alertmanager.py: python -m monitoring.generate
#
# Put your own receivers in the place of `pages` and `tickets`. lang1-token holds an access token of your authorisation
# server with the scope lang1/retraining.ask; Alertmanager reads the file for each call. Where nothing renews the file,
# let Alertmanager get tokens itself, in the place of `authorization`:
#
#   oauth2:
#     client_id: alertmanager
#     client_secret_file: /etc/alertmanager/lang1-client-secret
#     token_url: https://auth.example.org/token
#     scopes: [lang1/retraining.ask]
#
# With several installations under one Alertmanager, add a matcher of each one's namespace to its route.
"""


def alertmanager_config(
    root_url: str = EXAMPLE_URL,
    token_file: str = EXAMPLE_TOKEN_FILE,
    *,
    group_wait: str = "5m",
    group_interval: str = "1h",
    repeat_interval: str = "24h",
) -> dict[str, Any]:
    """The configuration, as data. The service is told anew once a day: it counts the days of its cool-down itself."""
    return {
        "route": {
            "receiver": "tickets",
            "group_by": ["alertname", "namespace"],
            "routes": [
                {
                    "matchers": [f'remedy="{RETRAIN}"'],
                    "receiver": "lang1-retraining",
                    "group_by": ["namespace"],
                    "group_wait": group_wait,
                    "group_interval": group_interval,
                    "repeat_interval": repeat_interval,
                    # People get their ticket too.
                    "continue": True,
                },
                {"matchers": ['severity="page"'], "receiver": "pages", "repeat_interval": "1h"},
                # By name: once a route above has matched, the default receiver is out.
                {"matchers": ['severity="ticket"'], "receiver": "tickets", "repeat_interval": "24h"},
            ],
        },
        # The quickest of the three tells of the same fault.
        "inhibit_rules": [
            {
                "source_matchers": ['alertname="Lang1ErrorBudgetFast"'],
                "target_matchers": ['alertname=~"Lang1ErrorBudget|Lang1ErrorBudgetSlow"'],
                "equal": ["namespace"],
            }
        ],
        "receivers": [
            {"name": "pages"},
            {"name": "tickets"},
            {
                "name": "lang1-retraining",
                "webhook_configs": [
                    {
                        "url": f"{root_url}{WEBHOOK_PATH}",
                        "send_resolved": False,
                        "max_alerts": MAX_ALERTS,
                        "http_config": {
                            "follow_redirects": False,
                            "authorization": {"type": "Bearer", "credentials_file": token_file},
                        },
                    }
                ],
            },
        ],
    }
