"""From a DocumentReference's attachments to plain text: choice, fetching, charset, parsing in a killable process."""
