// What can be done with assistants: pick, create, clone, delete; a change is saved while you type, and can be undone.
import { get, listAll, post, remove } from "./api.js";
import { loadStoreFiles } from "./files.js";
import { attempt, currentAssistant, now, set } from "./state.js";

const SAVE_AFTER_MS = 500;
const SAME_CHANGE_MS = 1500; // changes of one field that follow closely are one step of undo
const FIELDS = ["name", "description", "model", "instructions", "tools", "tool_resources", "temperature", "top_p", "response_format", "metadata"];

const histories = new Map(); // assistant id -> {undo: [fields], redo: [fields], field, at}
let unsaved = null; // {id, patch}
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
  flush();
  set({ assistantId, saving: "saved", storeFiles: null, uploads: [], toolChoice: "auto" });
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
  if (unsaved?.id === id) unsaved = null;
  await remove(`/v1/assistants/${id}`);
  set((s) => ({ assistants: s.assistants.filter((each) => each.id !== id) }));
  if (now().assistantId === id) pick(now().assistants[0]?.id ?? null);
}

// ── Changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Shown at once, saved a moment later. */
export function change(patch) {
  const assistant = currentAssistant(now());
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
  set((s) => ({ assistants: s.assistants.map((each) => (each.id === id ? { ...each, ...patch } : each)), saving: "changed" }));
  unsaved = { id, patch: { ...(unsaved?.id === id ? unsaved.patch : {}), ...patch } };
  clearTimeout(timer);
  timer = setTimeout(flush, SAVE_AFTER_MS);
}

/** Saves what is not saved yet, one change after the other. Never fails: what went wrong is in `saving`. */
export function flush() {
  clearTimeout(timer);
  const waiting = unsaved;
  unsaved = null;
  if (!waiting) return saving;
  set({ saving: "saving" });
  saving = saving.then(() => save(waiting));
  return saving;
}

async function save({ id, patch }) {
  try {
    const saved = await post(`/v1/assistants/${id}`, patch);
    const later = unsaved?.id === id ? unsaved.patch : {};
    set((s) => ({ assistants: s.assistants.map((each) => (each.id === id ? { ...saved, ...later } : each)), saving: unsaved ? "changed" : "saved" }));
  } catch (error) {
    set({ saving: error.message });
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
