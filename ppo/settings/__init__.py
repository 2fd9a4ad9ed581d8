"""Every setting of a run: its type, range, default and meaning."""

from ppo.settings.fields import (
    EARLIER,
    GROUPS,
    INCIDENTAL,
    LEFT_OPEN,
    BuiltIn,
    FlatNetwork,
    GameSettings,
    NetworkSettings,
    Params,
    PictureNetwork,
    Properties,
    ResolvedParams,
    RunSettings,
    Schedule,
    SurrogateChoice,
    SurrogateName,
    broken,
    inconsistencies,
    kept_faults,
    marked,
)
