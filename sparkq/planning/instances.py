"""Instance types of a cloud with their cores, memory and instruction sets, from ``instances.yaml``."""
from __future__ import annotations

import functools
import importlib.resources
from dataclasses import dataclass
from typing import Any

import yaml

from sparkq.errors import ConfigError

__all__ = ["Instance", "check_int8", "instance_named"]


@dataclass(frozen=True)
class Instance:
    """One instance type.

    Parameters
    ----------
    name : str
        As AWS names it.
    vcpus : int
        Virtual CPUs: hyperthreads, two a core, on x86; cores on Graviton.
    memory_mb : int
        MiB in all.
    cpu : str
        Generation.
    isa : tuple of str
        Instruction sets, as Linux names them, that every such instance has.
    """

    name: str
    vcpus: int
    memory_mb: int
    cpu: str
    isa: tuple[str, ...]


def instance_named(name: str) -> Instance:
    """The instance type of that name.

    Raises
    ------
    ConfigError
        If it is not in the table.
    """
    families = _families()
    family, _, size = name.partition(".")
    if family not in families or size not in families[family]["sizes"]:
        known = family in families
        raise ConfigError(
            f"instance: expected a type of the families {', '.join(families)}; got {name!r}.",
            hint=f"sizes of {family}: {', '.join(families[family]['sizes'])}." if known else "plan on a cluster that has it.",
        )
    facts = families[family]
    vcpus = int(facts["sizes"][size])
    return Instance(name, vcpus, vcpus * int(facts["memory_gib_per_vcpu"]) * 1024, facts["cpu"], tuple(facts["isa"]))


def check_int8(instance: Instance) -> None:
    """Whether the INT8 engines run on instances of this type.

    Raises
    ------
    ConfigError
        If not: every task of the job would fail.
    """
    if "avx2" not in instance.isa:
        raise ConfigError(
            f"instance {instance.name}: expected an x86-64 CPU with AVX2 for an INT8 artifact; got {instance.cpu}.",
            hint="take c6i or c7i, or an artifact of recipe none (float).",
        )


@functools.cache
def _families() -> dict[str, Any]:
    families: dict[str, Any] = yaml.safe_load(
        importlib.resources.files("sparkq.planning").joinpath("instances.yaml").read_text("utf-8"),
    )
    return families
