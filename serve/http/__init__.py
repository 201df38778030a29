"""HTTP without meaning: bodies, media types, error answers, the guards around the routes."""
