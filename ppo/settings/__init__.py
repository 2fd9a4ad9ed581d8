"""The settings of a run, as given and as resolved, and lists of settings by their properties."""

import json
from dataclasses import asdict
from typing import Any

from pydantic import Field, model_validator

from ppo.settings.fields import AllSettings, Precision, ValueGradient
from ppo.settings.rules import inconsistencies


class Params(AllSettings):
    """All settings of a run, as given. Raises ValidationError if they are invalid or disagree."""

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        faults = inconsistencies(self, frozenset())
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def leaves_open(self, key: str) -> bool:
        """Whether a setting is open, so the start of the run chooses it."""
        return key in CHOSEN_AT_START and getattr(self, key) in UNSET_VALUES

    def resolved(
        self, seed: int, threads: int, sticky: float, precision: str, clip_rewards: bool = True
    ) -> "ResolvedParams":
        """Return the settings with each open one filled in; a value that was set is kept."""
        chosen: dict[str, Any] = {"precision": precision, "clip_rewards": clip_rewards}
        chosen |= {"seed": seed, "threads": threads, "sticky_action_probability": sticky}
        chosen["value_gradient"] = self.usual_value_gradient
        named = {key: value for key, value in self if value not in UNSET_VALUES}
        return ResolvedParams.model_construct(**(self.model_dump() | chosen | named))

    def to_json(self) -> str:
        return json.dumps(self.model_dump(), indent=2) + "\n"


def marked(name: str) -> dict[str, Any]:
    """The settings that have a property, each with its value."""
    fields: Any = {key: field.json_schema_extra for key, field in Params.model_fields.items()}
    return {key: properties[name] for key, properties in fields.items() if name in properties}


EARLIER = marked("earlier")
# Settings that change what a run shows and keeps, but not how it learns; also its seed and
# threads.
INCIDENTAL = frozenset(key for key, affects in marked("affects_learning").items() if not affects)
# What a run and its forks have in common: the game, and what the network's weights depend on.
FIXED_ON_FORK = frozenset(key for key, by in marked("fixed").items() if by == "on fork")
UNSET_VALUES = (None, "auto")  # a run's start replaces these in the settings of CHOSEN_AT_START


def limits(key: str) -> dict[str, Any]:
    """Return the limits of a setting, as pydantic's ``Field`` takes them."""
    metadata = Params.model_fields[key].metadata
    return {name: value for limit in metadata for name, value in asdict(limit).items()}


class ResolvedParams(Params):
    """Settings in which nothing is left to be sampled or chosen."""

    sticky_action_probability: float = Field(**limits("sticky_action_probability"))
    seed: int = Field(**limits("seed"))
    threads: int = Field(**limits("threads"))
    precision: Precision
    clip_rewards: bool
    value_gradient: ValueGradient


CHOSEN_AT_START = tuple(ResolvedParams.__annotations__)
OF_MACHINE = ("seed", "threads", "precision")  # open settings that no game or network decides
