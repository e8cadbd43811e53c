// Runs: started, streamed into the state at most once per frame, stopped, answered, followed when the stream is lost.
import { apply } from "./accumulate.js";
import { flush, loadModels, toolChoice } from "./assistants.js";
import { get, post, stream } from "./api.js";
import { addMessage, INCLUDE, loadSteps, reloadMessages, removeFrom } from "./threads.js";
import { attempt, now, set } from "./state.js";

const POLL_MS = 500;
const DRAW_MS = 30; // between two drawings of a growing answer: faster than that nobody reads, and each costs the model's processor time
const OVER = new Set(["completed", "incomplete", "failed", "cancelled", "expired"]);
const DELTAS = new Set(["thread.message.delta", "thread.run.step.delta"]);

export const isActive = (run) => !!run && !OVER.has(run.status);
export const activeRun = (s) => (isActive(s.runs[s.activeRunId]) ? s.runs[s.activeRunId] : null);

/** Files of a message in the API's words: pictures are content, the others attachments. */
export function asContent(attached) {
  const ready = attached.filter((each) => each.file_id);
  return {
    parts: ready.filter((each) => each.use === "picture").map(({ file_id }) => ({ type: "image_file", image_file: { file_id } })),
    attachments: ready.filter((each) => each.use !== "picture").map(({ file_id, use }) => ({ file_id, tools: [{ type: use }] })),
  };
}

export async function run() {
  await flush();
  const { threadId, assistantId } = now();
  if (!assistantId) throw new Error("There is no assistant yet. Create one first.");
  const choice = toolChoice(now());
  await read(threadId, stream(`/v1/threads/${threadId}/runs?${INCLUDE}`, { assistant_id: assistantId, ...(choice === "auto" ? {} : { tool_choice: choice }), stream: true }));
}

/** Answers the functions that a run waits for. */
export async function submit(runId, outputs) {
  const { threadId } = now();
  await read(threadId, stream(`/v1/threads/${threadId}/runs/${runId}/submit_tool_outputs`, { tool_outputs: outputs, stream: true }));
}

export async function stop() {
  const run = activeRun(now());
  if (!run || run.status === "cancelling") return;
  set((s) => ({ runs: { ...s.runs, [run.id]: { ...run, status: "cancelling" } } }));
  await attempt(() => post(`/v1/threads/${run.thread_id}/runs/${run.id}/cancel`));
  if (run.status === "requires_action") await follow(run.thread_id, run.id);
}

/** Runs again, without the answer that is there. */
export async function retry(message) {
  if (message) await removeFrom(now().messages.find((each) => each.run_id && each.run_id === message.run_id)?.id ?? message.id);
  await run();
}

/** Puts another text in place of a message, drops what came after it, and runs. */
export async function resend(message, text) {
  const parts = message.content.filter((part) => part.type !== "text");
  await removeFrom(message.id);
  await addMessage(text, parts, message.attachments ?? []);
  await run();
}

// ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────────

async function read(threadId, events) {
  const queue = [];
  let frame = 0;
  let drawn = 0;
  let runId = null;
  const draw = () => {
    frame = 0;
    drawn = performance.now();
    const waiting = queue.splice(0);
    if (now().threadId === threadId) set((s) => waiting.reduce(apply, { messages: s.messages ?? [], runs: s.runs, steps: s.steps }));
  };
  const atFrame = () => {
    if (performance.now() - drawn < DRAW_MS) frame = requestAnimationFrame(atFrame);
    else draw();
  };
  try {
    for await (const event of events) {
      if (event.event === "error") throw new Error(event.data?.message ?? "The server broke the stream off.");
      if (event.event === "done") continue;
      if (event.data.object === "thread.run" && !runId) {
        runId = event.data.id;
        begin(runId);
      }
      if (DELTAS.has(event.event)) time(runId);
      queue.push(event);
      frame ||= document.hidden ? setTimeout(draw, 100) : requestAnimationFrame(atFrame);
    }
  } finally {
    if (queue.length) draw();
    if (runId && now().threadId === threadId) await settle(threadId, runId);
  }
}

function begin(runId) {
  set((s) => ({ runId, activeRunId: runId, timings: { ...s.timings, [runId]: s.timings[runId] ?? { began: performance.now() } } }));
}

/** When the first and the last piece of a run came: kept in place, because it is looked at when the run is over. */
function time(runId) {
  const timing = now().timings[runId];
  if (!timing) return;
  timing.first ??= performance.now();
  timing.last = performance.now();
}

/** After a stream: if it broke off, the run is followed; when the run is over, what the server kept is shown. */
async function settle(threadId, runId) {
  const run = now().runs[runId];
  if (isActive(run) && run.status !== "requires_action") await follow(threadId, runId);
  else if (!isActive(run)) await end(runId);
}

/** Looks again and again until the run is over, or waits for somebody. */
export async function follow(threadId, runId) {
  set({ activeRunId: runId });
  for (;;) {
    if (now().threadId !== threadId) return;
    const run = await attempt(() => get(`/v1/threads/${threadId}/runs/${runId}`, { isQuiet: true }));
    if (now().threadId !== threadId) return;
    if (run) {
      set((s) => ({ runs: { ...s.runs, [runId]: run } }));
      await attempt(() => Promise.all([reloadMessages(), loadSteps(runId)]));
      if (run.status === "requires_action") return;
      if (!isActive(run)) return end(runId);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function end(runId) {
  set((s) => (s.activeRunId === runId ? { activeRunId: null, timings: { ...s.timings } } : null));
  await attempt(loadModels); // it may have been loaded for this run
}
