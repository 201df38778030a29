"""Training: data, pretraining, finetuning, evaluation and retraining."""
