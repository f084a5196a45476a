"""The outside world: partners, callback URLs, keys, the Temporal client and the worker.

This package imports `workflows`, never `receiver`.
"""
