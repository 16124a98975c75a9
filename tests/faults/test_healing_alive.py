"""A worker that lives is never taken for dead, whatever befalls it, its host or the way there.

All hosts are afflicted at once, each in its own way (`afflictions.AFFLICTIONS`), under one `serve`.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.lab.hosts import Hosts
from tests.lab.mariadb import MariaDb
from tests.lab.queuemedic import Page, Serving
from tests.lab.waiting import wait_until

from .afflictions import AFFLICTIONS, Affliction, Case, Course, prepare
from .healed_queue import ASKED, QUEUE, SEEN_SECONDS, Site, heals, outlast

pytestmark = pytest.mark.timeout(400)  # the first test waits for all of them

Said = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Patient:
    """A host, its job, and what was said of it: `meanwhile` is all of it, from before the affliction on."""

    affliction: Affliction
    case: Case
    course: Course
    job: int = 0
    meanwhile: set[Said] = field(default_factory=set)
    missed: list[str] = field(default_factory=list)
    is_alive: bool = False

    def said(self, page: Page) -> set[Said]:
        """Return what is said of its job."""
        labels = {"queue": QUEUE, "host": self.case.recorded_host}
        return {
            (verdict, reason)
            for verdict in ("alive", "dead", "unknown")
            for reason in page.values("worker_verdicts", "reason", verdict=verdict, **labels)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ward:
    """All patients, and what is the same for all of them."""

    patients: Mapping[str, Patient]
    page: Page
    has_changed: bool
    intended: int
    refusals: Mapping[int, set[str]]


def _admit(hosts: Hosts, name: str) -> Patient:
    case = prepare(hosts, name)
    course = AFFLICTIONS[name].course(case)
    next(course)
    return Patient(affliction=AFFLICTIONS[name], case=case, course=course)


def _await(served: Serving, patients: Mapping[str, Patient], stage: str) -> None:
    """Wait until of all patients that is said which has to be at this stage; each test tells if it never was."""

    missing = set(patients)

    def all_said() -> bool:
        page = served.scrape()
        for name, patient in patients.items():
            found = patient.said(page)
            patient.meanwhile |= found
            expected: Said | None = getattr(patient.affliction, stage)
            (missing.discard if expected is None or expected in found else missing.add)(name)
        return not missing

    with suppress(AssertionError):
        wait_until(all_said, within=SEEN_SECONDS, what=f"all are told as {stage}", every_seconds=0.25)
    for name in missing:
        patients[name].missed.append(stage)


@pytest.fixture(scope="module")
def ward(hosts: Hosts, mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """Every affliction, from before it until after it, with time for a wrong reset at each."""
    with Site(mariadb, tmp_path_factory.mktemp("alive")) as site:
        with ThreadPoolExecutor(4) as threads:
            admitted = threads.map(lambda name: _admit(hosts, name), AFFLICTIONS)
            patients = dict(zip(AFFLICTIONS, admitted, strict=True))
        for patient in patients.values():
            patient.job = site.claim(patient.case.recorded_host, patient.case.recorded_pid)
        asked = {name: one.case.host.options(**ASKED) | one.case.settings for name, one in patients.items()}
        for patient in patients.values():
            asked |= {name: other.options(**ASKED) for name, other in patient.case.others.items()}
        before = site.contents()
        with site.healing(asked) as served:
            _await(served, patients, "before")
            for patient in patients.values():
                if patient.affliction.before is not None:
                    next(patient.course)
            _await(served, patients, "said")
            outlast(served)
            for patient in patients.values():
                next(patient.course, None)
            _await(served, patients, "after")
            page = outlast(served)
            for patient in patients.values():
                patient.is_alive = patient.case.host.state(patient.case.pid) not in {None, "Z"}
            yield Ward(
                patients=patients,
                page=page,
                has_changed=site.contents() != before,
                intended=sum(len(site.resets(patient.job)) for patient in patients.values()),
                refusals={patient.job: site.refusals(patient.job) for patient in patients.values()},
            )


def test_nobody_who_lives_is_told_as_dead(ward: Ward) -> None:
    """What is said of each is what is known, before, meanwhile and after; a row is refused as unproven, if at all."""
    found = {
        name: {
            "missed": patient.missed,
            "dead": {reason for verdict, reason in patient.meanwhile if verdict == "dead"},
            "is alive": patient.is_alive,
            "refused": ward.refusals[patient.job] - {"unknown"},
        }
        for name, patient in ward.patients.items()
    }
    well: dict[str, object] = {"missed": [], "dead": set(), "is alive": True, "refused": set()}
    assert found == dict.fromkeys(AFFLICTIONS, well)


def test_nothing_was_written(ward: Ward) -> None:
    """Not a byte of any table is another, no reset was as much as intended, and what is refused is so as unproven."""
    assert not ward.has_changed
    assert ward.intended == 0
    assert heals(ward.page) == {}
    assert ward.page.total("orphaned_jobs") == 0
    refused = ward.page.values("heal_refusals_total", "reason", queue=QUEUE)
    assert {reason for reason, number in refused.items() if number} == {"unknown"}
    assert ward.page.total("blocked_heals") == 0
