// What comes of what is being sent to each thread: kept until that is over, so that a thread that is left and opened again misses nothing of it.
import { apply } from "./accumulate.js";
import { post } from "./api.js";
import { attempt, now, set } from "./state.js";

const DRAW_MS = 30; // between two drawings of a growing answer: faster than that nobody reads, and each costs the model's processor time
const logs = new Map(); // thread id -> {events, drawn, runId}, of the threads that something is being sent to
let frame = 0;
let drawnAt = 0;

/** Does `work` with the id of the thread that is shown; a new thread is made. One at a time for each thread: a second click does nothing. */
export async function send(work) {
  let { threadId } = now();
  if (now().sending.includes(threadId)) return;
  set((s) => ({ sending: [...s.sending, threadId] }));
  await attempt(async () => {
    threadId ??= await makeThread();
    logs.set(threadId, { events: [], drawn: 0, runId: null });
    await work(threadId);
  });
  draw();
  logs.delete(threadId);
  set((s) => ({ sending: s.sending.filter((each) => each !== threadId) }));
}

async function makeThread() {
  const thread = await post("/v1/threads", {});
  set((s) => ({
    threads: [thread, ...(s.threads ?? [])],
    sending: s.sending.map((each) => each ?? thread.id),
    ...(s.threadId ? {} : { threadId: thread.id, messages: [] }),
  }));
  return thread.id;
}

/** Something has happened to a thread that something is being sent to; see `apply` for what may. */
export function tell(threadId, event) {
  logs.get(threadId).events.push(event);
  frame ||= document.hidden ? setTimeout(draw, 100) : requestAnimationFrame(drawInTime);
}

/** This is the run that is being read: shown, also when its thread is opened again. */
export function tellRun(threadId, runId) {
  logs.get(threadId).runId = runId;
  if (now().threadId === threadId) set({ runId, activeRunId: runId });
}

function drawInTime() {
  if (performance.now() - drawnAt < DRAW_MS) frame = requestAnimationFrame(drawInTime);
  else draw();
}

/** Brings what was told of the shown thread into the state; while its messages are looked up, it waits. */
export function draw() {
  frame = 0;
  drawnAt = performance.now();
  const { threadId, messages, runs, steps } = now();
  const log = logs.get(threadId);
  if (!log || !messages || log.drawn === log.events.length) return;
  const waiting = log.events.slice(log.drawn);
  log.drawn = log.events.length;
  set(waiting.reduce(apply, { messages, runs, steps }));
}

/** From now on everything that was told of the thread is told again. Whether something is being sent to it at all. */
export function rewind(threadId) {
  const log = logs.get(threadId);
  if (log) log.drawn = 0;
  if (log?.runId) set({ runId: log.runId, activeRunId: log.runId });
  return !!log;
}
