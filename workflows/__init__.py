"""The heart: pipelines, stages and what they settle on.

Imports point inward only, `receiver -> activities -> workflows`, and this package imports nothing but the standard
library and temporalio: what is here is recorded in histories and replayed, so it reaches no network, clock or secret.
"""
