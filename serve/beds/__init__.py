"""Expected occupancy and departures, from the length-of-stay probabilities of the patients now in."""
