"""How many examples a property test tries: all of them in `make faults`, one in five in `make test`."""

from __future__ import annotations

import hypothesis

QUICK, THOROUGH = "stagehook", "thorough"
IN_FIVE = {QUICK: 1, THOROUGH: 5}


def register_profiles() -> None:
    """Make and load the profile of `make test`; `--hypothesis-profile=thorough` loads the other one."""
    for name, share in IN_FIVE.items():
        # Machines are noisy: how long an example takes says nothing.
        hypothesis.settings.register_profile(
            name,
            deadline=None,
            max_examples=100 * share // 5,
            suppress_health_check=[hypothesis.HealthCheck.too_slow],
        )
    hypothesis.settings.load_profile(QUICK)


def examples(count: int, *, steps: int = 50) -> hypothesis.settings:
    """Settings with this number of examples in `make faults`. steps: of each example of a state machine."""
    share = IN_FIVE[hypothesis.settings.get_current_profile_name()]
    return hypothesis.settings(max_examples=max(1, count * share // 5), stateful_step_count=steps)
