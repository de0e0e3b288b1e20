from __future__ import annotations

from gateway.engines.fair import FIRST_IN_A_ROW, FairQueue


def queue_of(*items: tuple[str, str, int, int], low: bool = False) -> FairQueue:
    queue: FairQueue = FairQueue()
    for tenant, job, index, cost in items:
        queue.push((tenant, job, index), tenant=tenant, job=job, cost=cost, first=index == 0, low=low)
    return queue


def test_chunks_of_one_job_come_in_their_order():
    queue = queue_of(*[("anna", "a", n, 250) for n in range(6)])
    assert [item[2] for item in queue.drain()] == [0, 1, 2, 3, 4, 5]


def test_a_tenant_with_a_thousand_chunks_does_not_delay_a_tenant_with_one():
    queue = queue_of(*[("anna", "a", n, 100) for n in range(1000)])
    for _ in range(10):
        queue.pop()
    queue.push(("bert", "b", 0), tenant="bert", job="b", cost=100, first=True)
    served = [queue.pop() for _ in range(3)]
    assert ("bert", "b", 0) in served


def test_two_tenants_get_the_same_characters_however_long_their_chunks_are():
    queue = queue_of(
        *[("anna", "a", n + 1, 300) for n in range(100)],
        *[("bert", "b", n + 1, 60) for n in range(500)],
    )
    spoken = {"anna": 0, "bert": 0}
    for _ in range(120):
        tenant, _, _ = queue.pop()
        spoken[tenant] += 300 if tenant == "anna" else 60
    assert abs(spoken["anna"] - spoken["bert"]) <= 400


def test_jobs_of_one_tenant_take_turns():
    queue = queue_of(*[("anna", job, n + 1, 100) for job in "xyz" for n in range(4)])
    assert {queue.pop()[1] for _ in range(3)} == {"x", "y", "z"}


def test_the_first_chunk_of_a_job_is_spoken_before_the_later_chunks_of_others():
    queue = queue_of(*[("anna", "long", n + 1, 100) for n in range(10)], ("anna", "new", 0, 100))
    assert queue.pop() == ("anna", "new", 0)


def test_many_short_jobs_do_not_starve_a_long_one():
    queue = queue_of(*[("anna", f"short{n}", 0, 100) for n in range(50)], ("anna", "long", 1, 100))
    assert ("anna", "long", 1) in [queue.pop() for _ in range(FIRST_IN_A_ROW + 1)]


def test_low_priority_waits_until_nothing_else_does():
    queue = queue_of(("anna", "low", 0, 10), low=True)
    for n in range(3):
        queue.push(("bert", "b", n), tenant="bert", job="b", cost=300, first=n == 0)
    assert [item[1] for item in queue.drain()] == ["b", "b", "b", "low"]


def test_a_withdrawn_chunk_is_not_served_and_not_counted():
    queue: FairQueue = FairQueue()
    entries = [queue.push(n, tenant="anna", job="a", cost=10) for n in range(3)]
    assert queue.withdraw(entries[1])
    assert not queue.withdraw(entries[1])
    assert len(queue) == 2
    assert queue.drain() == [0, 2]
    assert not queue.withdraw(entries[0])


def test_what_comes_back_is_served_before_its_job_goes_on():
    queue = queue_of(*[("anna", "a", n, 100) for n in range(1, 4)])
    again = queue.pop()
    queue.push(again, tenant="anna", job="a", cost=1, front=True)
    assert queue.pop() == again


def test_looking_does_not_change_who_is_next():
    queue = queue_of(*[(tenant, "a", n, 70) for tenant in ("anna", "bert", "carl") for n in range(5)])
    while len(queue):
        seen = queue.peek()
        assert queue.peek() == seen
        assert queue.pop() == seen
    assert queue.peek() is None
    assert queue.pop() is None
