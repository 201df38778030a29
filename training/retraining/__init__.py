"""From an alarm to a better model: data up to now, the smallest remedy that suffices, a gate before it is used."""
