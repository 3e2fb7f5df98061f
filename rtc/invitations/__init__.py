"""Invitations into a room: short codes that people type, and workers nearby that are asked."""
