// What can be done with threads and their messages, but for running them.
import { get, listAll, post, remove } from "./api.js";
import { exportAs } from "./export.js";
import { nameOf, save } from "./files.js";
import { follow, isActive } from "./runs.js";
import { attempt, currentThread, now, set, titleOf } from "./state.js";

const PAGE = 50;
const MAX_THREADS = 2000;

export async function loadThreads() {
  set({ threads: await listAll("/v1/threads", { limit: MAX_THREADS }) });
}

/** Shows a thread; null: a new one, which is made with its first message. */
export async function open(threadId) {
  set({ threadId, messages: threadId ? null : [], hasEarlier: false, runs: {}, steps: {}, runId: null, activeRunId: null, editing: null, column: "chat" });
  if (!threadId) return;
  const [messages, runs] = await Promise.all([
    get(`/v1/threads/${threadId}/messages?limit=${PAGE}`),
    get(`/v1/threads/${threadId}/runs?limit=20`),
  ]);
  if (now().threadId !== threadId) return;
  const latest = runs.data[0];
  set((s) => ({
    messages: messages.data.reverse(),
    hasEarlier: messages.has_more,
    runs: { ...Object.fromEntries(runs.data.map((run) => [run.id, run])), ...s.runs },
    runId: latest?.id ?? null,
  }));
  if (!latest) return;
  await loadSteps(latest.id);
  if (isActive(latest)) attempt(() => follow(threadId, latest.id));
}

export async function loadEarlier() {
  const { threadId, messages } = now();
  const page = await get(`/v1/threads/${threadId}/messages?limit=100&after=${messages[0].id}`);
  if (now().threadId !== threadId) return;
  set((s) => ({ messages: [...page.data.reverse(), ...s.messages], hasEarlier: page.has_more }));
}

/** Every message from now on is what the server has. */
export async function reloadMessages() {
  const { threadId, messages } = now();
  const limit = Math.min(100, Math.max(PAGE, messages?.length ?? 0));
  const page = await get(`/v1/threads/${threadId}/messages?limit=${limit}`, { isQuiet: true });
  if (now().threadId !== threadId) return;
  const newest = page.data.reverse();
  const known = new Set(newest.map((each) => each.id));
  const first = newest[0]?.created_at ?? 0;
  set((s) => ({ messages: [...(s.messages ?? []).filter((each) => !known.has(each.id) && page.has_more && each.created_at <= first), ...newest] }));
}

const INCLUDE = `include[]=${encodeURIComponent("step_details.tool_calls[*].file_search.results[*].content")}`;
export { INCLUDE };

export async function loadSteps(runId) {
  const { threadId } = now();
  const steps = await listAll(`/v1/threads/${threadId}/runs/${runId}/steps?order=asc&${INCLUDE}`, { isQuiet: true });
  if (now().threadId !== threadId) return;
  set((s) => ({ steps: { ...s.steps, [runId]: steps } }));
}

/** The details of a run in the right column. */
export async function showRun(runId) {
  const { threadId, runs, steps } = now();
  set({ runId, column: "run" });
  if (!runs[runId]) {
    const run = await get(`/v1/threads/${threadId}/runs/${runId}`);
    set((s) => ({ runs: { ...s.runs, [runId]: run } }));
  }
  if (!steps[runId]) await loadSteps(runId);
}

// ── Changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The id of the thread that is shown; a new one is made. */
export async function ensureThread() {
  if (now().threadId) return now().threadId;
  const thread = await post("/v1/threads", {});
  set((s) => ({ threads: [thread, ...(s.threads ?? [])], threadId: thread.id, messages: [] }));
  return thread.id;
}

/** A message without a run. `parts` as the API has them. */
export async function addMessage(text, parts = [], attachments = []) {
  const threadId = await ensureThread();
  const content = parts.length ? [...(text ? [{ type: "text", text }] : []), ...parts] : text;
  const message = await post(`/v1/threads/${threadId}/messages`, { role: "user", content, ...(attachments.length ? { attachments } : {}) });
  set((s) => ({ messages: [...(s.messages ?? []), message] }));
  if (!currentThread(now())?.metadata?.title && text) attempt(() => rename(threadId, text.replace(/\s+/g, " ").trim().slice(0, 60)));
  if (attachments.length) await refreshThread(threadId);
  return message;
}

/** An attachment gives a thread a vector store. */
async function refreshThread(threadId) {
  const thread = await get(`/v1/threads/${threadId}`, { isQuiet: true });
  set((s) => ({ threads: s.threads.map((each) => (each.id === threadId ? thread : each)) }));
}

export async function rename(threadId, title) {
  const old = now().threads.find((each) => each.id === threadId);
  const thread = await post(`/v1/threads/${threadId}`, { metadata: { ...old?.metadata, title: title.trim().slice(0, 512) } });
  set((s) => ({ threads: s.threads.map((each) => (each.id === threadId ? thread : each)) }));
}

export async function removeThread(threadId) {
  await remove(`/v1/threads/${threadId}`);
  set((s) => ({ threads: s.threads.filter((each) => each.id !== threadId) }));
  if (now().threadId === threadId) await open(null);
}

/** Deletes a message and all that came after it. */
export async function removeFrom(messageId) {
  const { threadId, messages } = now();
  const gone = messages.slice(messages.findIndex((each) => each.id === messageId));
  for (const message of gone.reverse()) {
    await remove(`/v1/threads/${threadId}/messages/${message.id}`);
    set((s) => ({ messages: s.messages.filter((each) => each.id !== message.id) }));
  }
}

/** Saves the whole thread as a file: "md" or "json". */
export async function exportThread(kind) {
  const { threadId } = now();
  const [thread, messages] = await Promise.all([get(`/v1/threads/${threadId}`), listAll(`/v1/threads/${threadId}/messages?order=asc`)]);
  const ids = messages.flatMap((each) => [...(each.attachments ?? []).map((a) => a.file_id), ...each.content.flatMap((p) => (p.image_file ? [p.image_file.file_id] : []))]);
  const names = Object.fromEntries(await Promise.all([...new Set(ids)].map(async (id) => [id, (await nameOf(id)).filename])));
  const file = exportAs(kind, thread, messages, names);
  const name = titleOf(thread).replace(/[^\p{L}\p{N}._ -]+/gu, "").trim().slice(0, 60) || thread.id;
  save(new Blob([file.text], { type: file.type }), `${name}.${kind}`);
}
