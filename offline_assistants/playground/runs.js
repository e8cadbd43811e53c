// Runs: started, read, stopped, answered, followed when the stream is lost. A thread is fed either by the one who reads its stream or by the one who follows.
import { flush, loadModels, saveProblem, toolChoice } from "./assistants.js";
import { get, post, stream } from "./api.js";
import { draw, send, tell, tellRun } from "./live.js";
import { addMessage, INCLUDE, loadSteps, reloadMessages, removeMessages } from "./threads.js";
import { attempt, now, set } from "./state.js";

const POLL_MS = 500;
const OVER = new Set(["completed", "incomplete", "failed", "cancelled", "expired"]);
const DELTAS = new Set(["thread.message.delta", "thread.run.step.delta"]);
let follower = null; // whoever follows the shown thread now: an earlier one stops

export const isActive = (run) => !!run && !OVER.has(run.status);
export const activeRun = (s) => (isActive(s.runs[s.activeRunId]) ? s.runs[s.activeRunId] : null);
export const isBusy = (s) => s.sending.includes(s.threadId) || !!activeRun(s);

/** Files of a message in the API's words: pictures are content, the others attachments. */
export function asContent(attached) {
  const ready = attached.filter((each) => each.file_id);
  return {
    parts: ready.filter((each) => each.use === "picture").map(({ file_id }) => ({ type: "image_file", image_file: { file_id } })),
    attachments: ready.filter((each) => each.use !== "picture").map(({ file_id, use }) => ({ file_id, tools: [{ type: use }] })),
  };
}

export async function run(threadId) {
  const { assistantId } = now();
  const choice = toolChoice(now());
  if (!assistantId) throw new Error("There is no assistant yet. Create one first.");
  await flush();
  if (saveProblem(now())) throw new Error(`The assistant's last change is not saved: ${saveProblem(now())}`);
  await read(threadId, stream(`/v1/threads/${threadId}/runs?${INCLUDE}`, { assistant_id: assistantId, ...(choice === "auto" ? {} : { tool_choice: choice }), stream: true }));
}

/** Answers the functions that a run waits for. */
export function submit(runId, outputs) {
  return send((threadId) => read(threadId, stream(`/v1/threads/${threadId}/runs/${runId}/submit_tool_outputs`, { tool_outputs: outputs, stream: true })));
}

export async function stop() {
  const run = activeRun(now());
  if (!run || run.status === "cancelling") return;
  const show = (status) => set((s) => (s.runs[run.id] ? { runs: { ...s.runs, [run.id]: { ...s.runs[run.id], status } } } : null));
  show("cancelling");
  const answer = await attempt(() => post(`/v1/threads/${run.thread_id}/runs/${run.id}/cancel`));
  if (!answer && now().runs[run.id]?.status === "cancelling") show(run.status); // refused: may be tried again
  if (run.status === "requires_action") await attempt(() => follow(run.thread_id, run.id));
}

/** Runs again, without the answer that is there. */
export async function retry(message) {
  const gone = message ? since((each) => each.id === message.id || (each.run_id && each.run_id === message.run_id)) : [];
  await send(async (threadId) => {
    await removeMessages(threadId, gone);
    await run(threadId);
  });
}

/** Puts another text in place of a message, drops what came after it, and runs. Nothing is dropped before the text is kept. */
export async function resend(message, text) {
  const parts = message.content.filter((part) => part.type !== "text");
  const gone = since((each) => each.id === message.id);
  set((s) => ({ edits: { ...s.edits, [message.id]: text } })); // also when its thread is left before that is known to be sent
  await send(async (threadId) => {
    await addMessage(threadId, text, parts, message.attachments ?? []);
    forgetEdit(message.id);
    await removeMessages(threadId, gone);
    await run(threadId);
  });
}

/** The message is edited no more; what was written is sent, or not wanted. */
export function forgetEdit(id) {
  set((s) => ({ edits: Object.fromEntries(Object.entries(s.edits).filter(([each]) => each !== id)), editing: s.editing === id ? null : s.editing }));
}

/** The messages from the first such one on; none, when there is none such. */
function since(isFirst) {
  const messages = now().messages ?? [];
  const index = messages.findIndex(isFirst);
  return index < 0 ? [] : messages.slice(index);
}

// ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────

async function read(threadId, events) {
  let runId = null;
  try {
    for await (const event of events) {
      if (event.event === "error") throw new Error(event.data?.message ?? "The server broke the stream off.");
      if (event.event === "done") continue;
      if (event.data.object === "thread.run" && !runId) begin(threadId, (runId = event.data.id));
      if (DELTAS.has(event.event)) time(runId, event);
      tell(threadId, event);
    }
  } finally {
    draw();
    if (runId && now().threadId === threadId) settle(threadId, runId);
  }
}

function begin(threadId, runId) {
  if (now().threadId === threadId) follower = null;
  set((s) => ({ timings: { ...s.timings, [runId]: s.timings[runId] ?? { began: performance.now(), writing: 0 } } }));
  tellRun(threadId, runId);
}

/** When the first and the last piece of a run came, and how long it wrote messages; tools and people take time, too. Kept in place: it is looked at when the run is over. */
function time(runId, { event, data }) {
  const timing = now().timings[runId];
  if (!timing) return;
  const at = performance.now();
  const messageId = event === "thread.message.delta" ? data.id : null;
  if (messageId && messageId === timing.messageId) timing.writing += at - timing.last;
  timing.first ??= at;
  Object.assign(timing, { last: at, messageId });
}

/** After a stream: if it broke off, the run is followed; when the run is over, what may have changed with it is shown. */
function settle(threadId, runId) {
  const run = now().runs[runId];
  if (!isActive(run)) end(runId);
  else if (run.status !== "requires_action") attempt(() => follow(threadId, runId));
}

/** Looks again and again until the run is over, or waits for somebody, or another thread is shown. */
export async function follow(threadId, runId) {
  const me = (follower = {});
  const isOver = () => follower !== me || now().threadId !== threadId;
  set({ activeRunId: runId });
  while (!isOver()) {
    const run = await get(`/v1/threads/${threadId}/runs/${runId}`, { isQuiet: true }).catch((error) => {
      if (isOver() || [0, 429].includes(error.status) || error.status >= 500) return;
      set({ activeRunId: null }); // it is gone: no later look finds it
      throw error;
    });
    if (isOver()) return;
    if (run) {
      set((s) => ({ runs: { ...s.runs, [runId]: run } }));
      await attempt(() => Promise.all([reloadMessages(threadId), loadSteps(threadId, runId)]));
      if (isOver() || run.status === "requires_action") return;
      if (!isActive(run)) return end(runId);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function end(runId) {
  set((s) => (s.activeRunId === runId ? { activeRunId: null, timings: { ...s.timings } } : null));
  await attempt(loadModels); // it may have been loaded for this run
}
