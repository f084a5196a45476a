"""The door: partners' callbacks over HTTP, and operators' commands.

Imports `activities` and `workflows`; nothing imports it.
"""
