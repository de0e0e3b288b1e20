"""The places of a server: which jobs may have one beside those that run."""

from __future__ import annotations

import pytest

from gateway.jobs.run.slots import Slots
from gateway.jobs.run.turns import SHORTS_IN_A_ROW, Turns
from gateway.settings import JobSettings
from storage.records import Lane, WaitingJob


def candidates(tenant: str, lane: Lane, many: int, chars: int = 40) -> list[WaitingJob]:
    return [WaitingJob(f"{tenant}-{lane.name}-{n}", tenant, chars, lane, n, "b") for n in range(many)]


def chosen(slots: Slots, *lines: list[WaitingJob]) -> dict[tuple[str, Lane], int]:
    """Return the number of chosen jobs per tenant and lane."""
    got: dict[tuple[str, Lane], int] = {}
    for job in slots.choose(Turns().order([job for line in lines for job in line])):
        got[job.tenant, job.lane] = got.get((job.tenant, job.lane), 0) + 1
    return got


@pytest.mark.parametrize(("places", "for_short"), [(1, 0), (2, 1), (3, 2), (4, 2), (8, 2), (16, 4), (32, 8)])
def test_a_quarter_of_the_places_and_at_least_two_are_for_short_jobs_only(places: int, for_short: int) -> None:
    slots = Slots(JobSettings(max_running=places))
    assert slots.for_short == for_short
    for n in range(40):
        slots.choose(candidates(f"t{n}", Lane.LONG, 1))
    assert slots.free >= for_short
    for n in range(40):
        slots.choose(candidates(f"t{n}", Lane.SHORT, 1))
    assert slots.free == 0


def test_one_tenant_leaves_half_of_a_lane_to_others_and_they_leave_some_too() -> None:
    slots = Slots(JobSettings(max_running=16))
    assert chosen(slots, candidates("a", Lane.LONG, 40)) == {("a", Lane.LONG): 6}
    assert chosen(slots, candidates("b", Lane.LONG, 40)) == {("b", Lane.LONG): 3}
    assert chosen(slots, candidates("c", Lane.LONG, 40), candidates("d", Lane.LONG, 40))
    assert chosen(slots, candidates("a", Lane.LONG, 40)) == {}


def test_jobs_of_low_priority_never_take_what_their_owners_others_need() -> None:
    slots = Slots(JobSettings(max_running=16))
    assert chosen(slots, candidates("a", Lane.LOW, 40)) == {("a", Lane.LOW): 3}
    assert chosen(slots, candidates("b", Lane.LOW, 40), candidates("c", Lane.LOW, 40))
    assert chosen(slots, candidates("a", Lane.LONG, 40)) == {("a", Lane.LONG): 4}
    assert chosen(slots, candidates("a", Lane.SHORT, 2)) == {("a", Lane.SHORT): 2}


def test_a_flood_of_sentences_leaves_places_to_whoever_has_none_running() -> None:
    slots = Slots(JobSettings(max_running=16))
    assert chosen(slots, candidates("a", Lane.SHORT, 40)) == {("a", Lane.SHORT): 14}
    assert chosen(slots, candidates("b", Lane.SHORT, 40)) == {("b", Lane.SHORT): 1}
    assert chosen(slots, candidates("c", Lane.LONG, 1)) == {}
    assert chosen(slots, candidates("c", Lane.SHORT, 40)) == {("c", Lane.SHORT): 1}


def test_a_place_is_free_again_when_its_job_has_ended() -> None:
    slots = Slots(JobSettings(max_running=1))
    first, second = candidates("a", Lane.LONG, 2)
    assert slots.choose([first, second]) == [first]
    assert not slots.admits(second) and slots.size_bytes > 0
    slots.release(first.id)
    assert slots.admits(second) and slots.size_bytes == 0


def test_a_job_that_finds_no_memory_is_not_overtaken_for_ever() -> None:
    slots = Slots(JobSettings(running_bytes=100_000_000, chunk_window=1))
    [large] = candidates("a", Lane.LONG, 1, chars=8_000_000)
    assert slots.choose([large]) == [large]
    [larger] = candidates("b", Lane.LONG, 1, chars=9_000_000)
    small, sentence = candidates("c", Lane.LONG, 1), candidates("c", Lane.SHORT, 1)
    assert slots.choose([*sentence, larger, *small]) == sentence
    assert slots.held_up is Lane.LONG
    slots.release(large.id)
    assert slots.choose([larger, *small]) == [larger, *small]
    assert slots.held_up is None


def test_a_job_larger_than_the_budget_runs_beside_sentences_only() -> None:
    slots = Slots(JobSettings(running_bytes=1_000_000, chunk_window=1))
    [giant] = candidates("a", Lane.LONG, 1, chars=1_000_000)
    assert slots.choose([giant]) == [giant]
    assert slots.choose(candidates("b", Lane.LONG, 1)) == []
    assert len(slots.choose(candidates("b", Lane.SHORT, 3))) == 3


def test_tenants_take_turns_in_each_lane_and_lanes_in_their_order() -> None:
    turns = Turns()
    line = [
        *candidates("many", Lane.LONG, 4),
        *candidates("few", Lane.LONG, 1),
        *candidates("many", Lane.LOW, 1),
        *candidates("many", Lane.SHORT, 1),
    ]
    order = [(job.tenant, job.lane) for job in turns.order(line)]
    assert order[0] == ("many", Lane.SHORT) and order[-1] == ("many", Lane.LOW)
    assert order.index(("few", Lane.LONG)) == 1


def test_what_a_tenant_was_served_in_one_lane_counts_in_no_other() -> None:
    turns = Turns()
    for job in candidates("reader", Lane.LONG, 5, chars=1_000_000):
        turns.serve(job)
    order = turns.order([*candidates("reader", Lane.SHORT, 1), *candidates("other", Lane.SHORT, 3)])
    assert order[0].tenant == "reader"


def test_a_long_job_gets_its_turn_though_short_ones_never_end() -> None:
    turns = Turns()
    line = [*candidates("a", Lane.SHORT, 20), *candidates("a", Lane.LONG, 2)]
    lanes = [job.lane for job in turns.order(line)]
    assert lanes.index(Lane.LONG) == SHORTS_IN_A_ROW
    for job in candidates("a", Lane.SHORT, SHORTS_IN_A_ROW):
        turns.serve(job)
    assert turns.order(line)[0].lane is Lane.LONG


def test_a_tenant_gains_nothing_by_going_away_and_coming_back() -> None:
    turns = Turns()
    served = {"steady": 0, "flighty": 0}
    for n in range(400):
        line = candidates("steady", Lane.LONG, 3)
        if n % 2 == 0 or served["flighty"] % 3:
            line += candidates("flighty", Lane.LONG, 1)
        first = turns.order(line)[0]
        turns.serve(first)
        served[first.tenant] += 1
    assert served["steady"] >= served["flighty"] - 30


def test_tenants_take_turns_from_the_first_job_on() -> None:
    turns = Turns()
    served = []
    many, few = candidates("many", Lane.SHORT, 9), candidates("few", Lane.SHORT, 3)
    while many or few:
        first = turns.order([*many[:1], *few[:1]])[0]
        turns.serve(first)
        (many if first.tenant == "many" else few).remove(first)
        served.append(first.tenant)
    assert served[:6].count("few") == 3
