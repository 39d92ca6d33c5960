"""From images per second and a price list to the cost of a million images."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from sparkq.config.parsing import parse_config
from sparkq.errors import ConfigError
from sparkq.storage import read_file

__all__ = ["CostRow", "InstancePrice", "PriceList", "cost_per_million", "cost_rows", "read_prices"]

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class InstancePrice:
    """One kind of machine.

    Parameters
    ----------
    vcpus : int
        Cores that Spark is given on it.
    price_per_hour : float
        In the list's currency.
    images_per_second : float, optional
        Marginal images per second of the whole machine, from this benchmark run on it; without it the cost assumes that each
        of its vCPUs is as fast as a core of this machine.
    """

    vcpus: int
    price_per_hour: float
    images_per_second: float | None = None

    def __post_init__(self) -> None:
        for name in ("vcpus", "price_per_hour", "images_per_second"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"prices: {name}: expected more than 0; got {value!r}.")


@dataclass(frozen=True)
class PriceList:
    """A file of prices.

    Parameters
    ----------
    currency : str
        Of all of them.
    source : str
        Where and when they were read.
    instances : dict of str to InstancePrice
        By name.
    """

    currency: str
    source: str
    instances: dict[str, InstancePrice]


@dataclass(frozen=True)
class CostRow:
    """What a million images cost.

    Parameters
    ----------
    instance, runs : str
        Where, and what: a variant of the job, or an engine.
    cost : float
        In the list's currency, marginal: without the start of a cluster or a job.
    measured : bool
        Whether the speed is this instance's own; otherwise this machine's, core for vCPU.
    """

    instance: str
    runs: str
    cost: float
    measured: bool


def read_prices(path: str) -> PriceList:
    """Read a list.

    Raises
    ------
    ConfigError
        If it is not what `PriceList` says.
    """
    try:
        loaded = yaml.safe_load(read_file(path, what="prices"))
    except yaml.YAMLError as error:
        raise ConfigError(f"prices {path}: expected YAML; got {' '.join(str(error).split())}.") from error
    if not isinstance(loaded, Mapping) or set(loaded) != {"currency", "source", "instances"}:
        raise ConfigError(f"prices {path}: expected the keys currency, source and instances.", hint="see conf/prices.yaml.")
    if not isinstance(loaded["instances"], Mapping) or not loaded["instances"]:
        raise ConfigError(f"prices {path}: expected instances: names with vcpus, price_per_hour.", hint="see conf/prices.yaml.")
    instances = {
        str(name): parse_config(InstancePrice, value, place=f"prices {path}: {name}")
        for name, value in loaded["instances"].items()
    }
    return PriceList(str(loaded["currency"]), str(loaded["source"]), instances)


def cost_per_million(price_per_hour: float, images_per_second: float) -> float:
    """``price / 3600 * 1 000 000 / images_per_second``, in the currency of the price."""
    return price_per_hour / _SECONDS_PER_HOUR * 1e6 / images_per_second


def cost_rows(prices: PriceList, speeds: Mapping[str, float], *, own: str | None) -> list[CostRow]:
    """Every instance with everything that was measured.

    Parameters
    ----------
    prices : PriceList
        What they cost.
    speeds : mapping of str to float
        What ran to its images per second and core of this machine.
    own : str, optional
        The one of `speeds` that the list's own ``images_per_second`` stand for.
    """
    rows = []
    for name, price in prices.instances.items():
        for runs, speed in speeds.items():
            measured = price.images_per_second if runs == own else None
            rows.append(CostRow(
                name, runs, cost_per_million(price.price_per_hour, measured or speed * price.vcpus), measured is not None,
            ))
    return rows
