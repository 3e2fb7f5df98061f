"""Composition: which actors, adapters and routes make up each program. Nothing is decided here."""
