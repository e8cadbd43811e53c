"""Everything that can go wrong, as one tree. Knows nothing of HTTP beyond the status that an error would be.

    OfflineAssistantsError
    ├── RequestError                the caller can fix it            400 invalid_request_error
    │   ├── NotFound                                                 404
    │   ├── NotAllowed              another key may                  403
    │   ├── ModelNotFound                                            404 model_not_found
    │   ├── RunIsActive                                              400
    │   ├── UnsupportedFile         the type cannot be searched      400 unsupported_file
    │   └── InvalidFile             the bytes are not what they say  400 invalid_file
    ├── EngineError                 the model side                   500
    │   ├── ModelNotLoaded                                           503
    │   ├── ContextOverflow         the prompt does not fit          400
    │   └── EngineBusy                                               429
    ├── SandboxError                the container side               500
    │   └── SandboxUnavailable                                       503
    ├── SearchError                 index, parser or embedder        500
    │   └── EmbeddingModelChanged   a store of another model         400 embedding_model_changed
    └── StoreError                  the database or the disk         500
        └── StoreFull               the disk has too little room     507

The docstring of a class is its default message and says what to do next. `status`, `type` and `code` are hints for the HTTP layer, which therefore needs
one handler and knows no class by name. The library's own exception stays in `__cause__`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable


class OfflineAssistantsError(Exception):
    """The server failed. Its log holds the reason; repeat the request, and report it if it happens again."""

    status: int = 500
    type: str = "server_error"
    code: str | None = None

    def __init__(self, message: str | None = None, *, param: str | None = None, code: str | None = None) -> None:
        self.message = message or inspect.cleandoc(type(self).__doc__ or "")
        self.param = param
        self.code = code if code is not None else type(self).code
        super().__init__(self.message)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; the keyword-only arguments would be lost by the default.
        return _rebuild, (type(self), self.message, self.param, self.code)


def _rebuild(cls: type[OfflineAssistantsError], message: str, param: str | None, code: str | None) -> OfflineAssistantsError:
    return cls(message, param=param, code=code)


class RequestError(OfflineAssistantsError):
    """The request cannot be carried out as it stands. Correct it and send it again."""

    status = 400
    type = "invalid_request_error"


class NotFound(RequestError):
    """There is no such object. Check the id; it may have been deleted."""

    status = 404


class NotAllowed(RequestError):
    """This key may not do that. Ask whoever runs the server."""

    status = 403


class ModelNotFound(RequestError):
    """There is no such model on this machine. `offline-assistants models list` shows those there are."""

    status = 404
    code = "model_not_found"

    @classmethod
    def named(cls, model: str, known: Iterable[str]) -> ModelNotFound:
        """With the names of those there are."""
        names = ", ".join(known)
        there_are = f"There are: {names}." if names else "There is none: put a GGUF file into the models folder."
        return cls(f"The model '{model}' does not exist on this machine. {there_are}", param="model")


class RunIsActive(RequestError):
    """The thread already has an active run. Wait for it, or cancel it."""


class UnsupportedFile(RequestError):
    """Files of this type cannot be searched. Convert the file to text, Markdown or PDF."""

    code = "unsupported_file"


class InvalidFile(RequestError):
    """The file could not be read. Open it on your machine to see whether it is damaged or protected, and upload it again."""

    code = "invalid_file"


class EngineError(OfflineAssistantsError):
    """The model failed. It is restarted with the next request; see the server's log for the reason."""


class ModelNotLoaded(EngineError):
    """The model could not be loaded. `offline-assistants models list` shows whether its file is whole."""

    status = 503


class ContextOverflow(EngineError):
    """The prompt is larger than the model's context. Shorten the newest message, or serve the model with a larger context."""

    status = 400
    type = "invalid_request_error"
    code = "context_length_exceeded"


class EngineBusy(EngineError):
    """Too many requests are waiting for the model. Try again in a moment."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class SandboxError(OfflineAssistantsError):
    """The sandbox failed. The next call starts a new one; variables of this thread are lost, its files are kept."""


class SandboxUnavailable(SandboxError):
    """code_interpreter is unavailable: no container engine answers. Start Docker, then run `offline-assistants sandbox check`."""

    status = 503


class SearchError(OfflineAssistantsError):
    """File search failed. The uploaded files are safe; try again, and see the server's log for the reason."""


class EmbeddingModelChanged(SearchError):
    """The vector store was indexed with another embedding model than the server has. Run `offline-assistants vector-stores reindex` with its id."""

    status = 400
    type = "invalid_request_error"
    code = "embedding_model_changed"


class StoreError(OfflineAssistantsError):
    """The database failed. What was acknowledged before is kept; see the server's log for the reason."""


class StoreFull(StoreError):
    """The disk is almost full, so nothing new is accepted. Free some space in the data directory's file system."""

    status = 507
