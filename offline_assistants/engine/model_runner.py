"""The door to llama.cpp: loads a model, turns text into tokens and back, computes a batch. Knows nothing of sequences, chats or pipes."""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import llama_cpp
import numpy as np
from llguidance import LLTokenizer
from llguidance.llamacpp import lltokenizer_from_vocab
from numpy.typing import NDArray

from offline_assistants.domain.models import CHAT_FORMAT_KEY, ProjectorFile
from offline_assistants.engine.chat_formats.template import split_literals, split_pictures
from offline_assistants.engine.kv_cache import Aborted, CacheIsFull
from offline_assistants.engine.options import EngineOptions, LoraAdapter
from offline_assistants.engine.projector import Projector
from offline_assistants.engine.scheduler import Batch
from offline_assistants.engine.sight import PromptTokens, Sight, Tile, join
from offline_assistants.errors import EngineError, ModelNotLoaded, RequestError

# The binding has no usable types; this file is the only one that touches it.
_llama: Any = llama_cpp

ENGINE_VERSION: str = llama_cpp.__version__
"""What one version computed, another does not take up."""
_LOG_WARN, _LOG_ERROR, _LOG_CONTINUED = 3, 4, 5
_CACHE_IS_FULL, _ABORTED = 1, 2
_MAX_PIECE_BYTES = 4096
_LOAD_MODES = {(False, False): 0, (True, False): 1, (False, True): 2, (True, True): 3}
"""llama_load_mode, by mapped and locked."""
_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
"""llama_flash_attn_type."""
_KV_CACHE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}
"""ggml_type."""
_ADAPTER_ADVICE = "Take it out of --lora; or serve with --no-packaged-adapters, if it came with the model."
_EXPECTED = (
    "possible training context overflow",  # a unified cache is larger than any one sequence may be; llama.cpp takes its size for that of a sequence
    # An aborted batch.
    "removing memory module entries",
    "ggml_backend_sched_graph_compute_async failed with error 1",
    "failed to compute graph, compute status: 1",
    "failed to decode, ret = 2",
)


class ModelRunner:
    """One model in one context with several slots. Not safe for two threads, except `tokenize` and `count`, which only read the vocabulary."""

    def __init__(self, path: Path, options: EngineOptions, projector: ProjectorFile | None = None) -> None:
        """Loads the model, which takes from a moment to minutes. Raises ModelNotLoaded with llama.cpp's reason.

        A projector that cannot be loaded leaves a model that answers and does not see: `picture_problem` says why.
        """
        self._log = _Log()
        self.num_slots = options.max_running
        self._model = self._load(path, options)
        self._vocab = _llama.llama_model_get_vocab(self._model)
        self.num_vocab: int = _llama.llama_vocab_n_tokens(self._vocab)
        trained = int(_llama.llama_model_n_ctx_train(self._model))
        self.context_tokens = max(1, min(trained or options.max_context_tokens, options.max_context_tokens))
        self.num_kv_tokens = max(options.max_kv_tokens or 2 * self.context_tokens, self.context_tokens)
        self.picture_problem: str | None = None
        self._projector = self._open(projector, options) if projector else None
        self.picture_tokens = self._projector.picture_tokens if self._projector else None
        num_together = self._projector.min_batch_tokens if self._projector else 0
        self._max_batch_tokens = max(options.max_step_tokens, num_together) + self.num_slots
        self._abort_flag = ctypes.create_string_buffer(2)
        self._context = self._make_context(options)
        self.trained_format = self._adapt(options.lora_adapters) or _value(_llama.llama_model_meta_val_str, self._model, CHAT_FORMAT_KEY)
        """The chat format that an adapter was trained on, or the model itself; None when neither says so."""
        self._memory = _llama.llama_get_memory(self._context)
        self._batch = _llama.llama_batch_init(self._max_batch_tokens, 0, 1)
        self._pieces: dict[int, bytes] = {}
        self._read_vocabulary()

    def _load(self, path: Path, options: EngineOptions) -> Any:
        _llama.llama_backend_init()
        params = _llama.llama_model_default_params()
        params.load_mode = _LOAD_MODES[options.is_mapped, options.is_locked]
        if options.num_gpu_layers is not None:
            params.n_gpu_layers = options.num_gpu_layers
        model = _llama.llama_model_load_from_file(os.fsencode(path), params)
        if not model:
            raise ModelNotLoaded(f"The model file {path.name} could not be loaded: {self._log.last_error() or 'llama.cpp gives no reason'}.")
        return model

    def _open(self, file: ProjectorFile, options: EngineOptions) -> Projector | None:
        self._log.forget()
        num_threads = options.num_prefill_threads or len(os.sched_getaffinity(0))
        try:
            return Projector(
                file,
                self._model,
                num_threads=num_threads,
                max_picture_tokens=options.max_picture_tokens,
                log=self._log.callback,
                last_error=self._log.last_error,
            )
        except EngineError as error:
            self.picture_problem = error.message
            return None

    def _make_context(self, options: EngineOptions) -> Any:
        num_cores = len(os.sched_getaffinity(0))
        params = _llama.llama_context_default_params()
        # A unified cache: any sequence may use up to the whole context, and a shared prefix is stored once.
        params.kv_unified = True
        params.n_ctx = self.num_kv_tokens
        params.n_seq_max = self.num_slots
        params.n_batch = params.n_ubatch = self._max_batch_tokens
        # One row of logits for each slot; the default reserves one for each token of a batch, 100 MB for a small model.
        params.n_outputs_max = self.num_slots
        params.n_threads = options.num_decode_threads or max(1, num_cores // 2)
        params.n_threads_batch = options.num_prefill_threads or num_cores
        params.flash_attn_type = _FLASH_ATTENTION[options.flash_attention]
        params.type_k = params.type_v = _KV_CACHE_TYPES[options.kv_cache_type]
        # Sliding-window models would otherwise forget the very prefix that the next turn begins with.
        params.swa_full = True
        params.no_perf = True
        # Asked at every node of the graph, a thousand times in a step: `strlen` of a flag of one byte is 0 or 1, needs no Python, and so no lock of Python's.
        params.abort_callback = ctypes.cast(ctypes.CDLL(None).strlen, _llama.ggml_abort_callback)
        params.abort_callback_data = ctypes.addressof(self._abort_flag)
        context = _llama.llama_init_from_model(self._model, params)
        if not context:
            raise ModelNotLoaded(
                f"The model's context of {self.context_tokens} tokens, with a KV cache of {self.num_kv_tokens}, cannot be made: "
                f"{self._log.last_error() or 'out of memory'}. A smaller --context-tokens needs less memory."
            )
        return context

    def _adapt(self, adapters: Sequence[LoraAdapter]) -> str | None:
        """The chat format that the adapters ask for. Raises ModelNotLoaded when an adapter is missing, or made for another model."""
        if not adapters:
            return None
        loaded, scales = (_llama.llama_adapter_lora_p_ctypes * len(adapters))(), (ctypes.c_float * len(adapters))()
        for i, adapter in enumerate(adapters):
            self._log.forget()
            if not adapter.path.is_file():
                raise ModelNotLoaded(f"There is no LoRA adapter {adapter.path}. Put the file there. {_ADAPTER_ADVICE}")
            loaded[i], scales[i] = _llama.llama_adapter_lora_init(self._model, os.fsencode(adapter.path)), adapter.scale
            if not loaded[i]:
                reason = self._log.last_error() or "llama.cpp gives no reason"
                raise ModelNotLoaded(f"The LoRA adapter {adapter.path.name} does not fit the model {adapter.model_id}: {reason}. {_ADAPTER_ADVICE}")
        if _llama.llama_set_adapters_lora(self._context, loaded, len(adapters), scales) != 0:
            raise ModelNotLoaded(f"The LoRA adapters of {adapters[0].model_id} cannot be used together: {self._log.last_error()}. {_ADAPTER_ADVICE}")
        return next((name for each in loaded if (name := _value(_llama.llama_adapter_meta_val_str, each, CHAT_FORMAT_KEY))), None)

    def _read_vocabulary(self) -> None:
        ids = range(self.num_vocab)
        self.end_tokens = frozenset(token for token in ids if _llama.llama_vocab_is_eog(self._vocab, token))
        self.control_tokens = [self._text_of(token) for token in ids if _llama.llama_vocab_is_control(self._vocab, token)]
        self.special_words = {self._text_of(token): token for token in ids if self._is_special(token)}
        """Tokens that a grammar's strings do not match, because the grammar's tokenizer takes them for control tokens."""
        self.bos_token = self._text_of(_llama.llama_vocab_bos(self._vocab))
        self.eos_token = self._text_of(_llama.llama_vocab_eos(self._vocab))
        firsts: list[int] = [_llama.llama_vocab_bos(self._vocab), _llama.llama_vocab_eos(self._vocab)]
        self._first_token = next((token for token in firsts if token >= 0), 0)
        self._adds_bos = bool(_llama.llama_vocab_get_add_bos(self._vocab))
        template = _llama.llama_model_chat_template(self._model, None)
        self.chat_template: str | None = template.decode("utf-8", "replace") if template else None
        can_cut = not (_llama.llama_model_is_recurrent(self._model) or _llama.llama_model_is_hybrid(self._model))
        self.can_cut_cache: bool = can_cut

    def _is_special(self, token: int) -> bool:
        attributes = _llama.llama_vocab_get_attr(self._vocab, token)
        if attributes & _llama.LLAMA_TOKEN_ATTR_CONTROL:
            return True
        word = self._text_of(token) if attributes & _llama.LLAMA_TOKEN_ATTR_USER_DEFINED else ""
        return word.startswith("<") and word.endswith(">")

    def tokens_in(self, words: Iterable[str]) -> dict[int, bytes]:
        """The control tokens that stand in these words, with their names, which `piece` leaves out."""
        return {token: name.encode() for name, token in self.special_words.items() if name and any(name in word for word in words)}

    # ── Text and tokens ──────────────────────────────────────────────────────────────────────────────────────────────

    def grammar_tokenizer(self) -> LLTokenizer:
        """The vocabulary in llguidance's form. Takes half a second, so keep it."""
        return lltokenizer_from_vocab(self._vocab, eos_token=sorted(self.end_tokens))

    def tokenize_prompt(self, prompt: str, pictures: Sequence[bytes] = ()) -> PromptTokens:
        """The tokens of a rendered prompt: control tokens are read, except in the pieces that a user wrote; pictures stand where they are marked.

        Takes a moment for each picture. Raises RequestError when this model does not see them, UnreadablePicture.
        """
        pieces: list[list[int] | Tile] = []
        for part in split_pictures(prompt, len(pictures)):
            if isinstance(part, int):
                pieces += self._look_at(pictures[part])
                continue
            for text, is_literal in split_literals(part):
                add_bos = not pieces and self._adds_bos and not (self.bos_token and prompt.startswith(self.bos_token))
                pieces.append(self._tokenize(text, add_special=add_bos, parse_special=not is_literal))
        if pieces and isinstance(pieces[-1], Tile):
            raise RequestError("The model's chat template ends with a picture, so there is nothing to answer. Put words after it.")
        return join(pieces)

    def _look_at(self, picture: bytes) -> list[list[int] | Tile]:
        if self._projector is None:
            raise RequestError(f"This model cannot see pictures. {self.picture_problem or 'Leave them out, or use a model with a multimodal projector.'}")
        return self._projector.pieces_of(picture)

    def tokenize_raw(self, text: str) -> list[int]:
        """The tokens of a text whose author writes control tokens by himself; for no text, the one that begins a document."""
        return self._tokenize(text, add_special=self._adds_bos, parse_special=True) or [self._first_token]

    def text(self, tokens: Iterable[int]) -> str:
        """What `tokenize_raw` would make these tokens of."""
        return b"".join(map(self.name, tokens)).decode("utf-8", "replace")

    def count(self, text: str) -> int:
        """Tokens of a text alone."""
        return len(self._tokenize(text, add_special=False, parse_special=False))

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a control token."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._bytes_of(token, special=False)
        return known

    def name(self, token: int) -> bytes:
        """As `piece`, and a control token's name."""
        return self._bytes_of(token, special=True)

    def _tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        tokens = (_llama.llama_token * size)()
        num_tokens = _llama.llama_tokenize(self._vocab, data, len(data), tokens, size, add_special, parse_special)
        if num_tokens < 0:
            raise EngineError("A text could not be turned into tokens.")
        return list(tokens[:num_tokens])

    def _bytes_of(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(_MAX_PIECE_BYTES)
        length = _llama.llama_token_to_piece(self._vocab, token, buffer, _MAX_PIECE_BYTES, 0, special)
        return buffer.raw[: max(0, length)]

    def _text_of(self, token: int) -> str:
        return self._bytes_of(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    def set_threads(self, number: int) -> None:
        """For all that is computed from now on."""
        _llama.llama_set_n_threads(self._context, number, number)

    def close(self) -> None:
        """Gives the memory back, for a process that goes on without this model. It is of no use then."""
        _llama.llama_batch_free(self._batch)
        _llama.llama_free(self._context)
        _llama.llama_model_free(self._model)

    # ── Computing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def decode(self, batch: Batch) -> dict[int, NDArray[np.float32]]:
        """Computes a batch. The logits of each slot whose item wants them, shape (n_vocab,).

        Raises CacheIsFull, after which everything is as before; Aborted, after which the slots of the batch have to be cut back; and EngineError.
        """
        rows = self._fill(batch)
        self._abort_flag[0] = b"\0"
        result = _llama.llama_decode(self._context, self._batch)
        if result == _CACHE_IS_FULL:
            raise CacheIsFull
        if result == _ABORTED:
            raise Aborted
        if result != 0:
            raise EngineError(f"llama.cpp failed with code {result}: {self._log.last_error() or 'no reason given'}.")
        return {slot_id: self._logits(row) for slot_id, row in rows.items()}

    def abort(self) -> None:
        """The batch that is being computed, if there is one, is given up. Any thread may say so; it works where layers run on the processor."""
        self._abort_flag[0] = b"\1"

    def see(self, sight: Sight, slot_id: int) -> None:
        """Computes the tile of a picture behind what is in the slot. Raises CacheIsFull and EngineError, after which some of it may be there."""
        if self._projector is None:
            raise EngineError("This model has no projector, so it cannot see.")
        self._abort_flag[0] = b"\0"
        self._projector.compute(sight.tile, self._context, slot_id=slot_id, position=sight.start, max_batch_tokens=self._max_batch_tokens)

    def _fill(self, batch: Batch) -> dict[int, int]:
        raw, row, rows = self._batch, 0, dict[int, int]()
        for item in batch:
            for offset, token in enumerate(item.tokens):
                raw.token[row] = token
                raw.pos[row] = item.position + offset
                raw.n_seq_id[row] = 1
                raw.seq_id[row][0] = item.slot_id
                raw.logits[row] = 0
                row += 1
            if item.wants_logits:
                raw.logits[row - 1] = 1
                rows[item.slot_id] = row - 1
        raw.n_tokens = row
        return rows

    def _logits(self, row: int) -> NDArray[np.float32]:
        pointer = _llama.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(pointer, shape=(self.num_vocab,)).copy()

    def cut(self, slot_id: int, keep: int) -> bool:
        """Forgets all but the first `keep` tokens of a slot. False when the memory can only forget everything, which it then has done."""
        if _llama.llama_memory_seq_rm(self._memory, slot_id, keep, -1):
            return True
        _llama.llama_memory_seq_rm(self._memory, slot_id, -1, -1)
        return False

    def save(self, slot_id: int) -> bytes:
        """What is computed in a slot, for `restore` in a context of the same kind."""
        size = _llama.llama_state_seq_get_size(self._context, slot_id)
        buffer = (ctypes.c_uint8 * size)()
        return bytes(memoryview(buffer)[: _llama.llama_state_seq_get_data(self._context, buffer, size, slot_id)])

    def restore(self, slot_id: int, state: bytes, keep: int) -> bool:
        """Fills an empty slot with the first `keep` tokens of a state. False when there is no room, or the state is of another kind; cut the slot then."""
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        return bool(_llama.llama_state_seq_set_data(self._context, buffer, len(state), slot_id)) and self.cut(slot_id, keep)

    def copy(self, source: int, target: int, num_tokens: int) -> None:
        """The first tokens of one slot become the beginning of another, empty one."""
        _llama.llama_memory_seq_cp(self._memory, source, target, 0, num_tokens)


def _value(read: Any, loaded: Any, key: str) -> str | None:
    """A text of the header of a model or an adapter, each of which llama.cpp reads by a function of its own."""
    buffer = ctypes.create_string_buffer(256)
    length = read(loaded, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if length >= 0 else None


class _Log:
    """llama.cpp's log: warnings and errors go to stderr, and the last errors are kept for our own messages."""

    _in_use: ClassVar[list[Any]] = []
    """llama.cpp holds only the pointer of a callback, and may say something when its model is long gone."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=8)
        self._level = 0
        self.callback = _llama.llama_log_callback(self._take)
        self._in_use.append(self.callback)
        _llama.llama_log_set(self.callback, None)

    def last_error(self) -> str:
        """What llama.cpp complained of, the root of it first."""
        return "; ".join(dict.fromkeys(self._errors))

    def forget(self) -> None:
        """What was complained of until now."""
        self._errors.clear()

    def _take(self, level: int, text: bytes, _user_data: Any) -> None:
        self._level = level if level != _LOG_CONTINUED else self._level
        line = text.decode("utf-8", "replace")
        if any(words in line for words in _EXPECTED):
            return
        if self._level in {_LOG_WARN, _LOG_ERROR}:
            sys.stderr.write(line)
        if self._level == _LOG_ERROR and line.strip():
            self._errors.append(line.strip())
