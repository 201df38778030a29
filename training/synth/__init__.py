"""The synthetic hospital: patients whose outcome probabilities are known, and notes that tell their factors."""

from training.synth.ceiling import latent_probabilities, visible_probabilities
from training.synth.config import SIMULATOR_VERSION, SynthConfig
from training.synth.fhir import fhir_documents
from training.synth.generate import Manifest, generate, read_notes, write_dataset

__all__ = [
    "SIMULATOR_VERSION",
    "Manifest",
    "SynthConfig",
    "fhir_documents",
    "generate",
    "latent_probabilities",
    "read_notes",
    "visible_probabilities",
    "write_dataset",
]
