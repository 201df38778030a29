"""What scores are written back as: a sink turns records of scores into one resource of the EHR."""
