"""Messages between the server and a worker: what is written is read, and an end in the middle is an end."""

from __future__ import annotations

import io

import pytest

from offline_assistants.engine.wire import Cancel, Counts, Failed, Generate, read_command, read_replies, write_command, write_replies
from offline_assistants.errors import ContextOverflow
from offline_assistants.ports import Chat, ChatMessage, SamplingParams


def test_commands_arrive_as_they_were_sent():
    commands = [Generate(1, Chat((ChatMessage("user", "Füße 🦜"),)), SamplingParams(stop=("x",))), Cancel(1)]
    pipe = io.BytesIO()
    for command in commands:
        write_command(pipe, command)
    pipe.seek(0)

    assert [read_command(pipe), read_command(pipe), read_command(pipe)] == [*commands, None]


def test_errors_keep_their_class_and_words():
    pipe = io.BytesIO()
    write_replies(pipe, [Counts(6, [1, 2]), Failed(7, ContextOverflow("too long", param="messages"))])
    pipe.seek(0)

    counts, reply = read_replies(pipe) or ()

    assert counts == Counts(6, [1, 2])
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, ContextOverflow)
    assert (reply.request_id, reply.error.message, reply.error.param) == (7, "too long", "messages")


@pytest.mark.parametrize("length", [0, 2, 4, 10])
def test_a_message_that_is_cut_off_is_the_end(length: int):
    pipe = io.BytesIO()
    write_command(pipe, Cancel(1))

    assert read_command(io.BytesIO(pipe.getvalue()[:length])) is None
