// What can be done with assistants: pick, create, clone, delete; a change is saved while you type, and can be undone.
import { get, listAll, post, remove } from "./api.js";
import { loadStoreFiles } from "./files.js";
import { attempt, currentAssistant, now, set } from "./state.js";

const SAVE_AFTER_MS = 500;
const MAX_LASTING = 10_000; // characters that a browser surely goes on sending when the page is left: 64 KiB are, of all calls together
const TRY_AGAIN_MS = 3000; // while the server does not answer
const SAME_CHANGE_MS = 1500; // changes of one field that follow closely are one step of undo
const FIELDS = ["name", "description", "model", "instructions", "tools", "tool_resources", "temperature", "top_p", "response_format", "metadata"];

const histories = new Map(); // assistant id -> {undo: [fields], redo: [fields], field, at}
const unsaved = new Map(); // assistant id -> the fields that are not saved yet
let timer;
let saving = Promise.resolve();

export async function loadAssistants() {
  const [assistants, models] = await Promise.all([listAll("/v1/assistants"), get("/v1/models")]);
  set({ assistants, models: models.data });
  const known = assistants.some((each) => each.id === now().assistantId);
  pick(known ? now().assistantId : (assistants[0]?.id ?? null));
}

export async function loadModels() {
  set({ models: (await get("/v1/models", { isQuiet: true })).data });
}

export function pick(assistantId) {
  const isUnsaved = unsaved.has(assistantId);
  flush();
  set({ assistantId, saving: isUnsaved ? "saving" : "saved", storeFiles: null, toolChoice: "auto" });
  if (assistantId) attempt(loadStoreFiles);
}

export async function create() {
  await flush();
  const model = now().models.find((each) => each.kind === "chat")?.id;
  if (!model) throw new Error("There is no model yet. Put a GGUF file into the models folder; `offline-assistants models list` shows where it is.");
  const made = await post("/v1/assistants", { name: "New assistant", model, instructions: "You are a helpful assistant." });
  set((s) => ({ assistants: [made, ...s.assistants] }));
  pick(made.id);
  return made;
}

export async function clone() {
  await flush();
  const { name, ...rest } = fieldsOf(currentAssistant(now()));
  const made = await post("/v1/assistants", { ...withoutNulls(rest), name: `${name || "Assistant"} (copy)`.slice(0, 256) });
  set((s) => ({ assistants: [made, ...s.assistants] }));
  pick(made.id);
}

export async function removeAssistant(id) {
  unsaved.delete(id);
  await remove(`/v1/assistants/${id}`);
  set((s) => ({ assistants: s.assistants.filter((each) => each.id !== id) }));
  if (now().assistantId === id) pick(now().assistants[0]?.id ?? null);
}

// ── Changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Of the assistant that is shown, or of another. Shown at once, saved a moment later. */
export function change(patch, id = now().assistantId) {
  const assistant = now().assistants.find((each) => each.id === id);
  if (!assistant) return;
  const history = historyOf(assistant.id);
  const field = Object.keys(patch).join();
  if (field !== history.field || Date.now() - history.at > SAME_CHANGE_MS) history.undo.push(fieldsOf(assistant));
  Object.assign(history, { field, at: Date.now(), redo: [] });
  show(assistant.id, patch);
}

export const canUndo = () => !!historyOf(now().assistantId).undo.length;
export const canRedo = () => !!historyOf(now().assistantId).redo.length;
export const undo = () => step("undo", "redo");
export const redo = () => step("redo", "undo");

function step(from, to) {
  const assistant = currentAssistant(now());
  const history = historyOf(assistant?.id);
  const fields = history[from].pop();
  if (!fields) return;
  const current = fieldsOf(assistant);
  history[to].push(current);
  history.field = null;
  const patch = Object.fromEntries(Object.entries(fields).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(current[name])));
  show(assistant.id, patch);
}

function show(id, patch) {
  set((s) => ({ assistants: s.assistants.map((each) => (each.id === id ? { ...each, ...patch } : each)) }));
  keep(id, { ...unsaved.get(id), ...patch }, SAVE_AFTER_MS);
  showSaving(id, "changed");
}

function keep(id, patch, milliseconds) {
  unsaved.set(id, patch);
  if (!milliseconds) return;
  clearTimeout(timer);
  timer = setTimeout(flush, milliseconds);
}

const showSaving = (id, words) => set((s) => (s.assistantId === id ? { saving: words } : null));

/** Why the last change is not saved; null: it is, or it is being saved. */
export const saveProblem = (s) => (["saved", "changed", "saving"].includes(s.saving) ? null : s.saving);

/** Saves what is not saved yet, one change after the other. Never fails: what went wrong is in `saving`. */
export function flush() {
  clearTimeout(timer);
  for (const id of unsaved.keys()) {
    showSaving(id, "saving");
    saving = saving.then(() => save(id));
  }
  return saving;
}

/** The page is left: what is not saved yet is sent at once, because nothing can be waited for. */
export function leave() {
  clearTimeout(timer);
  for (const id of unsaved.keys()) save(id);
}

async function save(id) {
  const patch = unsaved.get(id);
  if (!patch) return; // it went with another call, or the assistant is gone
  unsaved.delete(id);
  try {
    const saved = await post(`/v1/assistants/${id}`, patch, { keepalive: JSON.stringify(patch).length < MAX_LASTING });
    const later = unsaved.get(id);
    set((s) => ({ assistants: s.assistants.map((each) => (each.id === id ? { ...saved, ...later } : each)) }));
    showSaving(id, later ? "changed" : "saved");
  } catch (error) {
    if (error.status !== 404) keep(id, { ...patch, ...unsaved.get(id) }, error.status ? 0 : TRY_AGAIN_MS); // goes with the next change, or when the server is back
    showSaving(id, error.message);
  }
}

const fieldsOf = (assistant) => Object.fromEntries(FIELDS.map((name) => [name, assistant[name]]));
const withoutNulls = (fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null));

function historyOf(id) {
  if (!histories.has(id)) histories.set(id, { undo: [], redo: [], field: null, at: 0 });
  return histories.get(id);
}

// ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────

export const hasTool = (assistant, type) => assistant.tools.some((tool) => tool.type === type);

export function switchTool(type, isOn) {
  const { tools } = currentAssistant(now());
  change({ tools: isOn ? [...tools, { type }] : tools.filter((tool) => tool.type !== type) });
}

/** What `tool_choice` may be for this assistant, each with its words. */
export function toolChoices(assistant) {
  const functions = assistant.tools.filter((tool) => tool.type === "function").map(({ function: { name } }) => [{ type: "function", function: { name } }, `Call ${name}`]);
  const builtIn = [[{ type: "file_search" }, "Search files"], [{ type: "code_interpreter" }, "Run code"]].filter(([{ type }]) => hasTool(assistant, type)); // prettier-ignore
  return [["auto", "Any tool"], ...builtIn, ...functions, ["required", "Must use a tool"], ["none", "No tool"]];
}

/** What the next run has to use; "auto" when that is a tool that the assistant has no more. */
export function toolChoice(s) {
  const wanted = JSON.stringify(s.toolChoice);
  return toolChoices(currentAssistant(s) ?? { tools: [] }).some(([choice]) => JSON.stringify(choice) === wanted) ? s.toolChoice : "auto";
}

/** Puts a function in place of the one that was called `oldName`, or adds it. */
export function putFunction(definition, oldName) {
  const { tools } = currentAssistant(now());
  const tool = { type: "function", function: definition };
  const index = tools.findIndex((each) => each.type === "function" && each.function.name === oldName);
  change({ tools: index < 0 ? [...tools, tool] : tools.with(index, tool) });
}

export function removeFunction(name) {
  change({ tools: currentAssistant(now()).tools.filter((tool) => tool.type !== "function" || tool.function.name !== name) });
}
