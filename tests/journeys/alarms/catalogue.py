"""Every scenario, by the subject of its alert: the modules are named as the files of alerts/rules are."""

from collections.abc import Iterator, Mapping
from inspect import getmembers, isabstract, isclass
from types import MappingProxyType, ModuleType
from typing import Final

from . import backlog, exporter, healing, jobs, matomo, meltano, workers
from .scenario import Scenario

MODULES: Final = (backlog, exporter, healing, jobs, matomo, meltano, workers)


def _scenarios(module: ModuleType) -> Iterator[type[Scenario]]:
    for name, found in getmembers(module, isclass):
        is_here = found.__module__ == module.__name__
        if is_here and issubclass(found, Scenario) and not isabstract(found) and not name.endswith("Scenario"):
            yield found


SCENARIOS: Final[Mapping[str, tuple[type[Scenario], ...]]] = MappingProxyType(
    {module.__name__.rpartition(".")[2]: tuple(_scenarios(module)) for module in MODULES}
)
