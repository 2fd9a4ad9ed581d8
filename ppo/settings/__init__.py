"""Every setting of a run: its type, range, default and meaning."""

from ppo.settings.fields import (
    EARLIER,
    GROUPS,
    INCIDENTAL,
    LEFT_OPEN,
    BuiltIn,
    GameSettings,
    NetworkSettings,
    Params,
    Properties,
    ResolvedParams,
    RunSettings,
    Schedule,
    Surrogate,
    broken,
    inconsistencies,
    kept_faults,
    marked,
)
