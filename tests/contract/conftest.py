"""Conversations with the `sandbox` of a module, where that is one for all of its tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from offline_assistants.code_interpreter.session_sandbox import SessionSandbox
from tests.contract.conversations import Conversation


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(sandbox: SessionSandbox) -> Conversation:
    """For code that leaves no files behind which another test would notice; opening a session takes a second or two."""
    return Conversation(sandbox)


@pytest_asyncio.fixture(loop_scope="module")
async def conversation(sandbox: SessionSandbox) -> AsyncIterator[Conversation]:
    """A thread of its own, whose session ends with the test."""
    fresh = Conversation(sandbox)
    yield fresh
    await sandbox.close(fresh.thread_id)
