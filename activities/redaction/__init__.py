"""Redaction: finds callback tokens, known secrets and credentials, and removes them from what is kept or shown."""
