"""Makes job packages from labels, videos, trained models and training configurations."""
