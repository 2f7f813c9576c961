"""The settings that a search looks through, as Optuna suggests them and as a training takes them.

Parameters are flat and named as the columns of the search's table. One that has no meaning beside
the others, such as the penalty without the entropic form, is not suggested at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rayxkd.distill.search.settings import OBJECTIVES
from rayxkd.distill.settings import DistillSettings

Parameters = dict[str, Any]

# Of a trial, beside its parameters; that of the base setting is the first.
NUMBER = "number"
FIRST = 1

COSTS = ("learned", "cooccurrence", "prototype")
FORMS = ("target", "expected", "entropic")
EPSILON = (0.2, 5.0)
TEMPERATURE = (1.0, 16.0)
WEIGHT = (0.3, 10.0)
SOURCE_PENALTY = (0.3, 30.0)
# The relation term is about 2 / batch size at most: far smaller than a divergence.
RELATION_WEIGHT = (3.0, 3_000.0)
# The learning rate is looked for up to so many times below and above the base setting's.
_RATE_FACTOR = 5.0
_TRANSPORT, _TRANSPORT_AND_RELATION = OBJECTIVES


class Suggests(Protocol):
    """What the space needs of ``optuna.Trial``."""

    @property
    def number(self) -> int:
        """How many were suggested before."""

    def suggest_categorical(self, name: str, choices: tuple[Any, ...]) -> Any:
        """One of them."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """A number between them."""


@dataclass(frozen=True)
class Space:
    """The settings around a base setting; ranges are widened to contain it.

    Attributes:
        base: what is not searched is taken from it.
    """

    base: DistillSettings

    def __call__(self, trial: Suggests) -> Parameters:
        """Suggest every parameter (define-by-run, see ``OptunaSearch``); returns the number."""
        first = self.first()
        costs = tuple(dict.fromkeys((*COSTS, first["cost"])))
        trial.suggest_categorical("cost", costs)
        form = trial.suggest_categorical("form", FORMS)
        _suggest_log(trial, "epsilon", EPSILON, first)
        if trial.suggest_categorical("own_temperature", (False, True)):
            _suggest_log(trial, "temperature", TEMPERATURE, first)
        if form == "entropic" and trial.suggest_categorical("relaxed", (False, True)):
            _suggest_log(trial, "source_penalty", SOURCE_PENALTY, first)
        _suggest_log(trial, "weight", WEIGHT, first)
        if trial.suggest_categorical("relation", (False, True)):
            _suggest_log(trial, "relation_weight", RELATION_WEIGHT, first)
        rate = first["learning_rate"]
        _suggest_log(trial, "learning_rate", (rate / _RATE_FACTOR, rate * _RATE_FACTOR), first)
        return {NUMBER: trial.number + 1}

    def first(self) -> Parameters:
        """The base setting as parameters: where the search begins."""
        base, transport = self.base, self.base.transport
        weights = dict(zip(base.objective, base.weights, strict=True))
        found = {
            "cost": transport.cost,
            "form": transport.form,
            "epsilon": transport.epsilon,
            "own_temperature": transport.temperature is not None,
            "temperature": transport.temperature,
            "source_penalty": transport.source_penalty,
            "weight": weights["transport"],
            "relation": "relation" in weights,
            "relation_weight": weights.get("relation"),
            "learning_rate": base.training.peak_rate,
        }
        if transport.form == "entropic":
            found["relaxed"] = transport.source_penalty is not None
        return {name: value for name, value in found.items() if value is not None}

    def setting(self, parameters: Mapping[str, Any]) -> DistillSettings:
        """The setting that is trained."""
        searched = searched_settings(parameters)
        return replace(
            self.base,
            objective=tuple(searched["objective"]),
            weight=tuple(searched["weight"]),
            transport=replace(self.base.transport, **searched["transport"]),
            training=replace(self.base.training, **searched["training"]),
        )


def searched_settings(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What parameters say, in the shape of ``jobs/distill.py --config``."""
    relation = parameters.get("relation_weight")
    weight = parameters["weight"]
    return {
        "objective": list(_TRANSPORT if relation is None else _TRANSPORT_AND_RELATION),
        "weight": [weight] if relation is None else [weight, relation],
        "transport": {
            "cost": parameters["cost"],
            "form": parameters["form"],
            "epsilon": parameters["epsilon"],
            "temperature": parameters.get("temperature"),
            "source_penalty": parameters.get("source_penalty"),
        },
        "training": {"learning_rate": parameters["learning_rate"]},
    }


def _suggest_log(
    trial: Suggests, name: str, limits: tuple[float, float], first: Parameters
) -> None:
    """Log-uniform between the limits and where the search begins."""
    start = first.get(name)
    low, high = limits if start is None else (min(limits[0], start), max(limits[1], start))
    trial.suggest_float(name, low, high, log=True)
