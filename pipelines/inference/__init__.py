"""Enhancing photos with a trained model."""
