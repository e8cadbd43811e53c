"""The child process of one model: reads commands, steps while there is work, writes deltas. Knows nothing of HTTP or runs.

Two threads. The reader takes commands from the pipe and prepares them (template, tokens, grammar), so that a long prompt does not delay the answers that are
streaming; it answers questions about token counts by itself. The main thread steps. When the server is gone, the pipe ends, and so does this process.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import numpy as np

from offline_assistants.engine.chat_formats.choice import choose
from offline_assistants.engine.chat_formats.template import CHATML, ChatTemplate
from offline_assistants.engine.detokenizer import StopStrings
from offline_assistants.engine.grammar import TokenGrammar
from offline_assistants.engine.kv_cache import KVCache
from offline_assistants.engine.logprobs import token_logprob
from offline_assistants.engine.model_runner import ENGINE_VERSION, ModelRunner
from offline_assistants.engine.prefix_files import PrefixFiles
from offline_assistants.engine.sampler import Sampler
from offline_assistants.engine.sequence import Sequence
from offline_assistants.engine.sight import PromptTokens
from offline_assistants.engine.stepper import Stepper
from offline_assistants.engine.wire import (
    LOAD_REQUEST_ID,
    Cancel,
    Command,
    Counts,
    CountTokens,
    Failed,
    Generate,
    Load,
    Loaded,
    Measure,
    Reply,
    Watch,
    Watched,
    read_command,
    write_replies,
)
from offline_assistants.errors import ContextOverflow, EngineError, ModelNotLoaded, OfflineAssistantsError, RequestError
from offline_assistants.ports import Chat, RawPrompt, SamplingParams

_PR_SET_PDEATHSIG = 1
_QUIET_S = 1.0
"""Without work for so long, a worker writes to the disk."""
_EXIT_NO_MEMORY = 71


class Worker:
    def __init__(self, commands: BinaryIO, replies: BinaryIO) -> None:
        self._commands = commands
        self._replies = replies
        self._write_lock = threading.Lock()
        self._steps_s = 0.0
        self._inbox: queue.SimpleQueue[Sequence | Cancel] = queue.SimpleQueue()

    def run(self) -> None:
        """Until the server closes the pipe, or the model fails for good."""
        load = read_command(self._commands)
        if not isinstance(load, Load):
            return
        try:
            self._load(load)
        except OfflineAssistantsError as error:
            self._send(Failed(LOAD_REQUEST_ID, error))
            return
        threading.Thread(target=self._read_commands, name="commands", daemon=True).start()
        runner = self._runner
        self._send(Loaded(LOAD_REQUEST_ID, runner.context_tokens, runner.picture_tokens, runner.picture_problem))
        while True:
            self._take_commands()
            began = time.perf_counter()
            if replies := self._stepper.step():
                self._send(*replies)
            self._steps_s += time.perf_counter() - began

    def _load(self, load: Load) -> None:
        self._runner = ModelRunner(load.path, load.options, load.projector)
        self._format = choose(_template(self._runner, load.path.stem), trained_on=self._runner.trained_format).format
        self._shown_words = self._runner.tokens_in(self._format.words)
        self._grammar_tokenizer = self._runner.grammar_tokenizer()
        cache = KVCache(self._runner.num_slots, can_cut=self._runner.can_cut_cache)
        num_kv_tokens, files = self._runner.num_kv_tokens, _prefix_files(load) if self._runner.can_cut_cache else None
        self._stepper = Stepper(self._runner, cache, load.options, num_kv_tokens=num_kv_tokens, clock=time.perf_counter, files=files)
        self._may_save = False

    def _take_commands(self) -> None:
        """All that have come; waits for one when there is nothing to do."""
        while self._stepper.is_idle or not self._inbox.empty():
            match self._next_command():
                case None:
                    self._may_save = self._save_one()
                case Cancel(request_id):
                    self._stepper.cancel(request_id)
                case sequence:
                    self._may_save = True
                    if replies := self._stepper.add(sequence):
                        self._send(*replies)

    def _next_command(self) -> Sequence | Cancel | None:
        """None when nothing came for a while, and there may be something to write to the disk."""
        try:
            return self._inbox.get(timeout=_QUIET_S if self._may_save else None)
        except queue.Empty:
            return None

    def _save_one(self) -> bool:
        try:
            return self._stepper.save_one()
        except OSError as error:
            logging.warning("a computed prefix could not be kept: %s", error)
            return False

    def _send(self, *replies: Reply) -> None:
        with self._write_lock:
            write_replies(self._replies, replies)

    # ── The reader ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_commands(self) -> None:
        while (command := read_command(self._commands)) is not None:
            try:
                match command:
                    case Generate():
                        self._inbox.put(self._prepare(command))
                    case Cancel(request_id):
                        self._inbox.put(command)
                        if self._stepper.is_mostly_for(request_id):
                            self._runner.abort()
                    case Watch(request_id):
                        self._send(Watched(request_id, replace(self._stepper.state(), steps_s=self._steps_s)))
                    case CountTokens(request_id, texts):
                        self._send(Counts(request_id, [self._runner.count(text) for text in texts]))
                    case Measure(request_id, prompt):
                        self._send(Counts(request_id, [self._tokens(prompt, self._rendered(prompt)).num_tokens]))
                    case _:
                        raise EngineError(f"a worker does not take {type(command).__name__}")
            except OfflineAssistantsError as error:
                self._fail(command, error)
            except MemoryError:
                # Nothing that is tried here now can be relied on; a new process gets its memory afresh.
                os._exit(_EXIT_NO_MEMORY)
            except Exception:
                # Whatever it was, it concerns this request alone: the others go on, and this caller must not wait for ever.
                logging.exception("a request could not be prepared")
                self._fail(command, EngineError("The request could not be prepared; the server's log holds the reason."))
        # The server is gone; the main thread may be in the middle of a long step, and there is nothing to save.
        os._exit(0)

    def _fail(self, command: Command, error: OfflineAssistantsError) -> None:
        if not isinstance(command, Load):
            self._send(Failed(command.request_id, error))

    def _prepare(self, command: Generate) -> Sequence:
        text = self._rendered(command.prompt)
        prompt, sampling = self._tokens(command.prompt, text), command.sampling
        room = self._runner.context_tokens - prompt.num_tokens
        if room < 1:
            raise ContextOverflow(
                f"The prompt has {prompt.num_tokens} tokens, and the model's context holds {self._runner.context_tokens}, the answer included. "
                "Shorten the newest message or the instructions, or serve the model with a larger context."
            )
        self._check([token for token, _ in sampling.logit_bias], param="logit_bias")
        chat = command.prompt if isinstance(command.prompt, Chat) else None
        lark = self._format.grammar(chat, text, self._runner.special_words) if chat else None
        return Sequence(
            command.request_id,
            prompt=prompt,
            max_tokens=room if sampling.max_tokens is None else min(room, sampling.max_tokens),
            piece=self._piece if chat else self._runner.piece,
            end_tokens=self._runner.end_tokens,
            sampler=Sampler(sampling, np.random.default_rng(_seed(sampling))),
            parser=self._format.parser(chat, text) if chat else None,
            stops=StopStrings(sampling.stop),
            grammar=TokenGrammar(lark, self._grammar_tokenizer) if lark else None,
            echo=self._echo(command.prompt),
            logprob=None if sampling.top_logprobs is None else partial(token_logprob, num_top=sampling.top_logprobs, name=self._runner.name),
        )

    def _piece(self, token: int) -> bytes:
        """A token's text, and the name of a control token that the chat format has to see."""
        return self._shown_words.get(token) or self._runner.piece(token)

    def _rendered(self, prompt: Chat | RawPrompt) -> str:
        return self._format.render(prompt) if isinstance(prompt, Chat) else ""

    def _tokens(self, prompt: Chat | RawPrompt, rendered: str) -> PromptTokens:
        if isinstance(prompt, Chat):
            pictures = [picture.content for message in prompt.messages for picture in message.pictures]
            return self._runner.tokenize_prompt(rendered, pictures)
        if isinstance(prompt.text, str):
            return PromptTokens(self._runner.tokenize_raw(prompt.text))
        self._check(prompt.text, param="prompt")
        return PromptTokens(list(prompt.text) or self._runner.tokenize_raw(""))

    def _echo(self, prompt: Chat | RawPrompt) -> str:
        if isinstance(prompt, Chat) or not prompt.echo:
            return ""
        return prompt.text if isinstance(prompt.text, str) else self._runner.text(prompt.text)

    def _check(self, tokens: Iterable[int], *, param: str) -> None:
        unknown = next((token for token in tokens if not 0 <= token < self._runner.num_vocab), None)
        if unknown is not None:
            raise RequestError(f"Invalid '{param}': the model has no token {unknown}; its tokens are 0 to {self._runner.num_vocab - 1}.", param=param)


def _prefix_files(load: Load) -> PrefixFiles | None:
    """None when they are not wanted, or the folder cannot be used."""
    options = load.options
    if options.prefix_folder is None or options.max_prefix_bytes <= 0:
        return None
    files = [load.path, *(adapter.path for adapter in options.lora_adapters)]
    identity = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    kind = (identity, [adapter.scale for adapter in options.lora_adapters], options.kv_cache_type, options.flash_attention, ENGINE_VERSION)
    try:
        model_key = hashlib.sha256(repr(kind).encode()).hexdigest()
        return PrefixFiles(options.prefix_folder, model_key=model_key, max_bytes=options.max_prefix_bytes)
    except OSError as error:
        logging.warning("computed prefixes cannot be kept: %s", error)
        return None


def _seed(sampling: SamplingParams) -> int | None:
    """numpy takes no negative seeds."""
    return None if sampling.seed is None else sampling.seed % 2**64


def _template(runner: ModelRunner, model: str) -> ChatTemplate:
    """Raises ModelNotLoaded when it cannot be read."""
    try:
        return ChatTemplate(
            runner.chat_template or CHATML,
            bos_token=runner.bos_token,
            eos_token=runner.eos_token,
            control_tokens=runner.control_tokens,
            strftime=time.strftime,
            model=model,
        )
    except ValueError as error:
        raise ModelNotLoaded(
            f"{str(error)[:1].upper()}{str(error)[1:]}. Get a file with a template that works, or mend its tokenizer.chat_template."
        ) from error


def main() -> None:
    """Speaks over what were stdin and stdout; anything that a library prints goes to stderr instead."""
    _die_with_the_server()
    commands, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        Worker(commands, replies).run()
    except BrokenPipeError:
        sys.exit(0)


def _die_with_the_server() -> None:
    server = int(sys.argv[1])
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have died before the line above.
    if os.getppid() != server:
        sys.exit(0)
    # Ctrl-C in a terminal reaches children too; the server decides when they end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
