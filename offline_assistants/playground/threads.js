// What can be done with threads and their messages, but for running them.
import { get, listAll, post, remove } from "./api.js";
import { exportAs } from "./export.js";
import { nameOf, save } from "./files.js";
import { draw, rewind, tell } from "./live.js";
import { follow, isActive } from "./runs.js";
import { attempt, now, set, titleOf } from "./state.js";

const PAGE = 50;
const MAX_THREADS = 2000;

export async function loadThreads() {
  const found = await listAll("/v1/threads", { limit: MAX_THREADS });
  const known = new Set(found.map((each) => each.id));
  set((s) => ({ threads: [...(s.threads ?? []).filter((each) => !known.has(each.id)), ...found] })); // one may have been made meanwhile
}

/** Shows a thread; null: a new one, which is made with its first message. */
export async function open(threadId) {
  if (threadId && threadId === now().threadId && now().messages) return set({ column: "chat" });
  set({ threadId, messages: threadId ? null : [], hasEarlier: false, runs: {}, steps: {}, runId: null, activeRunId: null, editing: null, column: "chat" });
  if (threadId) await load(threadId);
}

async function load(threadId) {
  const isSentTo = rewind(threadId);
  const [messages, runs] = await Promise.all([
    get(`/v1/threads/${threadId}/messages?limit=${PAGE}`),
    get(`/v1/threads/${threadId}/runs?limit=20`),
  ]);
  if (now().threadId !== threadId) return;
  const latest = runs.data[0];
  set({
    messages: messages.data.reverse(),
    editing: messages.data.find((each) => each.id in now().edits)?.id ?? null, // whose new text was not sent
    hasEarlier: messages.has_more,
    runs: Object.fromEntries(runs.data.map((run) => [run.id, run])),
    runId: latest?.id ?? null,
  });
  if (latest) await loadSteps(threadId, latest.id);
  if (now().threadId !== threadId) return;
  if (rewind(threadId)) draw();
  else if (isSentTo) await load(threadId); // it ended while this was looked up
  else if (isActive(latest)) attempt(() => follow(threadId, latest.id));
}

export async function loadEarlier() {
  const { threadId, messages } = now();
  const page = await get(`/v1/threads/${threadId}/messages?limit=100&after=${messages[0].id}`);
  if (now().threadId !== threadId) return;
  set((s) => ({ messages: [...page.data.reverse(), ...s.messages], hasEarlier: page.has_more }));
}

/** Every message from now on is what the server has. */
export async function reloadMessages(threadId) {
  const limit = Math.min(100, Math.max(PAGE, now().messages?.length ?? 0));
  const page = await get(`/v1/threads/${threadId}/messages?limit=${limit}`, { isQuiet: true });
  if (now().threadId !== threadId) return;
  const newest = page.data.reverse();
  const known = new Set(newest.map((each) => each.id));
  const first = newest[0]?.created_at ?? 0;
  set((s) => ({ messages: [...(s.messages ?? []).filter((each) => !known.has(each.id) && page.has_more && each.created_at <= first), ...newest] }));
}

const INCLUDE = `include[]=${encodeURIComponent("step_details.tool_calls[*].file_search.results[*].content")}`;
export { INCLUDE };

export async function loadSteps(threadId, runId) {
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
    if (now().threadId !== threadId) return;
    set((s) => ({ runs: { ...s.runs, [runId]: run } }));
  }
  if (!steps[runId]) await loadSteps(threadId, runId);
}

// ── Changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A message without a run, inside of `send`. `parts` as the API has them. */
export async function addMessage(threadId, text, parts = [], attachments = []) {
  const content = parts.length ? [...(text ? [{ type: "text", text }] : []), ...parts] : text;
  const message = await post(`/v1/threads/${threadId}/messages`, { role: "user", content, ...(attachments.length ? { attachments } : {}) });
  tell(threadId, { event: "thread.message.created", data: message });
  const thread = now().threads.find((each) => each.id === threadId);
  if (!thread?.metadata?.title && text) attempt(() => rename(threadId, text.replace(/\s+/g, " ").trim().slice(0, 60)));
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

/** Deletes messages, the newest first, inside of `send`. */
export async function removeMessages(threadId, messages) {
  for (const { id } of messages.toReversed()) {
    await remove(`/v1/threads/${threadId}/messages/${id}`);
    tell(threadId, { event: "thread.message.deleted", data: { id } });
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
