"""The core: pipelines, stages and their outcomes.

Imports point inward only, `receiver -> activities -> workflows`, and this package imports only the standard library and
temporalio. Temporal records and replays this code, so it uses no network, no clock and no secret.
"""
