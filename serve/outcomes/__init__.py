"""What came of a stay: facts of the EHR joined to predictions by the label rules of training."""
