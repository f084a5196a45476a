"""Settings: the environment variables of web and worker processes, which `activities.variables` lists.

`activities.client` reads Temporal's own variables (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, ...). Each
partner's file names that partner's variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from activities.environment import Environment, is_loopback
from activities.partners import PARTNERS, load_partners
from activities.partners.partner import Partner
