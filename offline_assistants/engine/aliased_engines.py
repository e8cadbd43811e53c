"""The Engines port with names that stand for other models: the hosted API's names lead to a model that is here. Knows nothing of what a model computes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from offline_assistants.domain.model_aliases import ModelAliases
from offline_assistants.errors import ModelNotFound, RequestError
from offline_assistants.ports import Chat, Delta, Engines, LoadedModel, ModelInfo, RawPrompt, SamplingParams


class AliasedEngines:
    """A model's own name comes before every alias. An alias without a target means the default model: see `default_of`."""

    def __init__(self, engines: Engines, aliases: ModelAliases, *, default_model: str | None = None) -> None:
        self._engines = engines
        self._aliases = aliases
        self._default_model = default_model

    async def find(self, model: str) -> ModelInfo:
        """Raises RequestError for the name of an embedding model."""
        models = await self._engines.list_models()
        alias = self._aliases.find(model)
        for each in models:
            if each.model_id == model:
                return each
        if alias is None:
            raise ModelNotFound.named(model, [each.model_id for each in models])
        if alias.is_for_embeddings:
            raise RequestError(f"'{model}' names an embedding model, which does not answer chats. It serves POST /v1/embeddings.", param="model")
        return self._target(model, alias.target or self._default_model, models)

    def _target(self, model: str, target: str | None, models: Sequence[ModelInfo]) -> ModelInfo:
        found = next((each for each in models if each.model_id == target), None) if target else default_of(models)
        if found is None:
            raise ModelNotFound.named(target or model, [each.model_id for each in models])
        return found

    async def generate(self, model: str, prompt: Chat | RawPrompt, sampling: SamplingParams) -> AsyncGenerator[Delta]:
        found = await self.find(model)
        async with aclosing(self._engines.generate(found.model_id, prompt, sampling)) as deltas:
            async for delta in deltas:
                yield delta

    async def count_tokens(self, model: str, texts: Sequence[str]) -> list[int]:
        return await self._engines.count_tokens((await self.find(model)).model_id, texts)

    async def measure(self, model: str, prompt: Chat | RawPrompt) -> int:
        return await self._engines.measure((await self.find(model)).model_id, prompt)

    async def load(self, model: str) -> ModelInfo:
        return await self._engines.load((await self.find(model)).model_id)

    async def list_models(self) -> list[ModelInfo]:
        return await self._engines.list_models()

    async def list_loaded(self) -> list[LoadedModel]:
        return await self._engines.list_loaded()

    async def unload(self, model: str) -> None:
        await self._engines.unload((await self.find(model)).model_id)

    async def check_names(self, *, embedders: Sequence[str] = ()) -> None:
        """Raises RequestError when the default model, or what an alias stands for, is not here. `embedders`: the models for embeddings that are."""
        known = [each.model_id for each in await self._engines.list_models()]
        if self._default_model is not None:
            _check_name("--default-model", self._default_model, known)
        for alias in self._aliases.entries:
            if alias.target is not None:
                _check_name(f"--model-aliases {alias.pattern}={alias.target}", alias.target, embedders if alias.is_for_embeddings else known)

    async def remove(self, model: str) -> None:
        """Raises RequestError for an alias: what it stands for is removed by its own name."""
        found = await self.find(model)
        if found.model_id != model:
            raise RequestError(f"'{model}' stands for the model '{found.model_id}'. To remove that model, name it.", param="model")
        await self._engines.remove(model)


def default_of(models: Sequence[ModelInfo]) -> ModelInfo | None:
    """The largest model that the user brought, or else the largest that a package brought; None when there is none that could be loaded."""
    usable = [model for model in models if not model.is_damaged]
    return max(usable, key=lambda model: (not model.is_packaged, model.size_bytes, model.model_id), default=None)


def _check_name(option: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        there_are = f"There are: {', '.join(known)}." if known else "There is none: put a GGUF file into the models folder."
        raise RequestError(f"{option}: there is no model '{name}' on this machine that it could stand for. {there_are}")
