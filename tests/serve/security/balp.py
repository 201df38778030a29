"""What the Basic Audit Log Patterns 1.1.4 require of an AuditEvent beside R4 (https://profiles.ihe.net/ITI/BALP)."""

from __future__ import annotations

from typing import Any

SOURCE, DESTINATION = "110153", "110152"
# Profile: action, the restful interactions of which one is a subtype, DICOM roles of client and server.
RULES: dict[str, tuple[str, frozenset[str], str, str]] = {
    "Create": ("C", frozenset({"create"}), SOURCE, DESTINATION),
    "Read": ("R", frozenset({"read", "vread"}), DESTINATION, SOURCE),
    "Update": ("U", frozenset({"update"}), SOURCE, DESTINATION),
    "Query": ("E", frozenset({"search", "search-type", "search-system"}), SOURCE, DESTINATION),
}


def breaches(event: dict[str, Any]) -> list[str]:
    """What of the profile that it claims an event does not meet."""
    (url,) = event["meta"]["profile"]
    name = url.removeprefix("https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.")
    action, interactions, client_role, server_role = RULES[name.removeprefix("Patient")]
    of_type: dict[str, list[dict[str, Any]]] = {}
    for entity in event["entity"]:
        of_type.setdefault(entity["type"]["code"], []).append(entity)
    agents = {agent["type"]["coding"][0]["code"]: agent for agent in event["agent"]}
    objects, people = of_type.get("2", []), of_type.get("1", [])
    transactions = of_type.get("XrequestId", [])
    found = {
        "type": event["type"]["code"] == "rest",
        "subtype": sum(each["code"] in interactions for each in event["subtype"]) == 1,
        "action": event["action"] == action,
        "outcome": event["outcome"] == "0",
        "agents": len(event["agent"]) >= 2 and {client_role, server_role} <= agents.keys(),
        "who asked is the client": agents.get(client_role, {}).get("requestor") is True,
        "agents' who and network": all({"who", "network"} <= agent.keys() for agent in agents.values()),
        "no agent has media": all("media" not in agent for agent in agents.values()),
        "one object": len(objects) == 1,
        "one transaction at most": len(transactions) <= 1
        and all(each["what"]["identifier"]["value"] for each in transactions),
        "patient": len(people) == (1 if name.startswith("Patient") else 0)
        and all(each["role"]["code"] == "1" and "what" in each for each in people),
    }
    if name.endswith("Query"):
        found["query"] = all(
            each["role"]["code"] == "24" and "query" in each and not {"what", "lifecycle", "detail"} & each.keys()
            for each in objects
        )
    else:
        found["data"] = all(each["role"]["code"] in ("3", "4", "20") and "what" in each for each in objects)
    return [rule for rule, met in found.items() if not met]
