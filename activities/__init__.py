"""The outside world: partners, callback URLs, keys, the Temporal client, the worker.

Imports `workflows`, never `receiver`.
"""
