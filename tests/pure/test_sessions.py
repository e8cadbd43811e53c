"""Which thread has which session: one each, found again, ended by idleness, age and want of room. The sessions are hollow; the clock is set by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest

from offline_assistants.code_interpreter.kernel_session import KernelSession
from offline_assistants.code_interpreter.sessions import SessionLimits, Sessions
from offline_assistants.errors import SandboxUnavailable

LIMITS = SessionLimits(idle_s=60.0, max_age_s=600.0, max_sessions=2)


class HollowSession:
    def __init__(self) -> None:
        self.is_alive = True
        self.file_ids = frozenset[str]()

    async def close(self) -> None:
        self.is_alive = False


class Hall:
    """Opens hollow sessions, and holds the clock."""

    def __init__(self) -> None:
        self.opened: list[HollowSession] = []
        self.now = 0.0
        self.is_engine_gone = False

    async def open(self) -> KernelSession:
        await asyncio.sleep(0)
        if self.is_engine_gone:
            raise SandboxUnavailable
        self.opened.append(HollowSession())
        return cast("KernelSession", self.opened[-1])

    @property
    def num_alive(self) -> int:
        return sum(session.is_alive for session in self.opened)


@pytest.fixture
def hall() -> Hall:
    return Hall()


@pytest.fixture
async def sessions(hall: Hall) -> AsyncIterator[Sessions]:
    async with Sessions(hall.open, LIMITS, clock=lambda: hall.now) as opened:
        yield opened


async def use(sessions: Sessions, thread_id: str) -> tuple[KernelSession, str | None]:
    async with sessions.borrow(thread_id) as borrowed:
        return borrowed


async def test_a_thread_finds_its_session_again(sessions: Sessions, hall: Hall) -> None:
    first, second = await use(sessions, "a"), await use(sessions, "a")

    assert first == second
    assert len(hall.opened) == 1


async def test_two_threads_have_two_sessions(sessions: Sessions) -> None:
    async with sessions.borrow("a") as (one, _), sessions.borrow("b") as (other, _):
        assert one is not other


async def test_a_session_serves_one_borrower_at_a_time(sessions: Sessions, hall: Hall) -> None:
    order: list[str] = []

    async def work(name: str) -> None:
        async with sessions.borrow("a"):
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    await asyncio.gather(work("one"), work("two"))

    assert order == ["one begins", "one ends", "two begins", "two ends"]
    assert len(hall.opened) == 1


async def test_an_idle_session_is_swept_and_its_thread_is_told_once(sessions: Sessions, hall: Hall) -> None:
    await use(sessions, "a")
    hall.now = 61.0

    await sessions.sweep()

    assert hall.num_alive == 0
    assert (await use(sessions, "a"))[1] == "it was not used for 1 minutes"
    assert (await use(sessions, "a"))[1] is None


async def test_use_keeps_a_session_only_up_to_its_greatest_age(sessions: Sessions, hall: Hall) -> None:
    for now in range(0, 600, 50):
        hall.now = float(now)
        await use(sessions, "a")
    assert len(hall.opened) == 1
    hall.now = 600.0

    _, why_lost = await use(sessions, "a")

    assert why_lost == "it was older than 10 minutes"
    assert len(hall.opened) == 2


async def test_a_session_in_use_is_never_swept(sessions: Sessions, hall: Hall) -> None:
    async with sessions.borrow("a") as (session, _):
        hall.now = 10_000.0
        await sessions.sweep()

        assert session.is_alive


async def test_want_of_room_ends_the_session_that_was_idle_longest(sessions: Sessions, hall: Hall) -> None:
    for hall.now, thread_id in ((1.0, "a"), (2.0, "b"), (3.0, "a"), (4.0, "c")):
        await use(sessions, thread_id)

    assert [session.is_alive for session in hall.opened] == [True, False, True]
    assert (await use(sessions, "b"))[1] == "its place was needed for another conversation"


async def test_where_all_are_in_use_the_next_one_waits(sessions: Sessions, hall: Hall) -> None:
    async with sessions.borrow("b"):
        async with sessions.borrow("a"):
            waiting = asyncio.create_task(use(sessions, "c"))
            await asyncio.sleep(0.01)
            assert not waiting.done()

        await waiting

    assert len(hall.opened) == 3


async def test_many_threads_at_once_never_have_more_sessions_than_allowed(sessions: Sessions, hall: Hall) -> None:
    most = 0

    async def work(thread_id: str) -> None:
        nonlocal most
        async with sessions.borrow(thread_id):
            most = max(most, hall.num_alive)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(work(f"thread {number % 7}") for number in range(50)))

    assert most == LIMITS.max_sessions


async def test_a_dead_session_is_replaced_and_its_thread_is_told(sessions: Sessions, hall: Hall) -> None:
    await use(sessions, "a")
    hall.opened[0].is_alive = False

    session, why_lost = await use(sessions, "a")

    assert session.is_alive
    assert why_lost == "its container ended"


async def test_the_death_of_a_session_in_use_is_told_to_the_next_call_once(sessions: Sessions, hall: Hall) -> None:
    async with sessions.borrow("a"):
        hall.opened[0].is_alive = False

    assert (await use(sessions, "a"))[1] == "its container ended"
    assert (await use(sessions, "a"))[1] is None


async def test_a_session_that_cannot_be_opened_takes_no_place(sessions: Sessions, hall: Hall) -> None:
    hall.is_engine_gone = True
    for _ in range(LIMITS.max_sessions + 1):
        with pytest.raises(SandboxUnavailable):
            await use(sessions, "a")
    hall.is_engine_gone = False

    async with sessions.borrow("a"), sessions.borrow("b"):
        assert hall.num_alive == 2


async def test_a_session_can_be_ended_in_the_middle_of_its_use(sessions: Sessions, hall: Hall) -> None:
    async with sessions.borrow("a") as (session, _):
        await sessions.end("a")
        assert not session.is_alive

    assert (await use(sessions, "a"))[1] is None
    assert len(hall.opened) == 2


async def test_leaving_ends_every_session(hall: Hall) -> None:
    async with Sessions(hall.open, LIMITS) as sessions:
        await use(sessions, "a")
        sessions.warm()
        await until(lambda: hall.num_alive == 2)

    assert hall.num_alive == 0


async def test_those_that_wait_get_their_sessions_in_the_order_of_asking(sessions: Sessions) -> None:
    order: list[str] = []

    async def work(thread_id: str) -> None:
        async with sessions.borrow(thread_id):
            order.append(thread_id)
            await asyncio.sleep(0.001)

    async with sessions.borrow("a"), sessions.borrow("b"):
        waiting = [asyncio.create_task(work(f"waiting {number}")) for number in range(6)]
        await asyncio.sleep(0.01)
        assert sessions.num_before("late") == 7
        assert sessions.num_before("a") == 0

    await asyncio.gather(*waiting)
    assert order == [f"waiting {number}" for number in range(6)]


# ── Spares ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 the hall tells nobody
        await asyncio.sleep(0.001)


async def test_a_new_thread_gets_the_spare_and_no_other_thread_gets_it_again(sessions: Sessions, hall: Hall) -> None:
    sessions.warm()
    await until(lambda: hall.num_alive == 1)

    (one, _), (other, _) = await use(sessions, "a"), await use(sessions, "b")

    assert one is hall.opened[0]
    assert other is not one
    assert (await use(sessions, "a"))[0] is one


async def test_nothing_is_kept_ready_before_somebody_asks_for_it(sessions: Sessions, hall: Hall) -> None:
    await use(sessions, "a")
    await asyncio.sleep(0.01)

    assert len(hall.opened) == 1


async def test_a_spare_never_takes_the_place_of_a_session(sessions: Sessions, hall: Hall) -> None:
    async with sessions.borrow("a"), sessions.borrow("b"):
        sessions.warm()
        await asyncio.sleep(0.01)

        assert len(hall.opened) == LIMITS.max_sessions


async def test_a_dead_spare_is_not_handed_out(sessions: Sessions, hall: Hall) -> None:
    sessions.warm()
    await until(lambda: hall.num_alive == 1)
    hall.opened[0].is_alive = False

    assert (await use(sessions, "a"))[0].is_alive


async def test_a_spare_that_nobody_took_is_swept(sessions: Sessions, hall: Hall) -> None:
    sessions.warm()
    await until(lambda: hall.num_alive == 1)
    hall.now = 61.0

    await sessions.sweep()

    assert hall.num_alive == 0


async def test_without_an_engine_warming_is_silent_and_the_call_tells(sessions: Sessions, hall: Hall) -> None:
    hall.is_engine_gone = True
    sessions.warm()
    await asyncio.sleep(0.01)

    with pytest.raises(SandboxUnavailable):
        await use(sessions, "a")
