"""The cost of a million images follows from images per second and a list of prices."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from sparkq.config.parsing import parse_config
from sparkq.errors import ConfigError, one_line
from sparkq.storage import read_file

__all__ = ["CostRow", "InstancePrice", "PriceList", "cost_per_million", "cost_rows", "read_prices"]

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class InstancePrice:
    """The price of one kind of machine.

    Parameters
    ----------
    vcpus : int
        Cores that Spark is given on it.
    price_per_hour : float
        Price in the list's currency.
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
    """A list of prices of instances.

    Parameters
    ----------
    currency : str
        Currency of all prices.
    source : str
        Where and when the prices were read.
    instances : dict of str to InstancePrice
        Instances by name.
    """

    currency: str
    source: str
    instances: dict[str, InstancePrice]


@dataclass(frozen=True)
class CostRow:
    """The cost of a million images on one instance.

    Parameters
    ----------
    instance, runs : str
        The instance, and what it runs: a variant of the job, or an engine.
    cost : float
        Marginal cost in the list's currency, without the start of a cluster or a job.
    measured : bool
        Whether the speed is this instance's own; otherwise this machine's, core for vCPU.
    """

    instance: str
    runs: str
    cost: float
    measured: bool


def read_prices(path: str) -> PriceList:
    """Read a list of prices from a YAML file.

    Raises
    ------
    ConfigError
        If the file does not hold a `PriceList`.
    """
    try:
        loaded = yaml.safe_load(read_file(path, what="prices"))
    except yaml.YAMLError as error:
        raise ConfigError(f"prices {path}: expected YAML; got {one_line(error)}.") from error
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
    """Return ``price / 3600 * 1 000 000 / images_per_second``, in the currency of the price."""
    return price_per_hour / _SECONDS_PER_HOUR * 1e6 / images_per_second


def cost_rows(prices: PriceList, speeds: Mapping[str, float], *, own: str | None) -> list[CostRow]:
    """Combine every instance with everything that was measured.

    Parameters
    ----------
    prices : PriceList
        Prices of the instances.
    speeds : mapping of str to float
        Images per second and core of this machine, by what ran.
    own : str, optional
        The key of `speeds` that the list's own ``images_per_second`` stand for.
    """
    rows = []
    for name, price in prices.instances.items():
        for runs, speed in speeds.items():
            measured = price.images_per_second if runs == own else None
            rows.append(CostRow(
                name, runs, cost_per_million(price.price_per_hour, measured or speed * price.vcpus), measured is not None,
            ))
    return rows
