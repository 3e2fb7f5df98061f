"""Builds job packages on the client from labels, videos, trained models and training configurations."""
