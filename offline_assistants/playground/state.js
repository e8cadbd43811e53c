// All that the page knows, in one object that is replaced and never changed in place; who draws a piece of it is drawn again when that piece changes.
import { useEffect, useReducer, useRef } from "./vendor.js";

const REMEMBERED = ["theme", "assistantId", "hasCharacterKeys"];
const remembered = JSON.parse(localStorage.getItem("offline-assistants") || "{}");

let state = {
  // Left
  assistants: [],
  assistantId: remembered.assistantId ?? null,
  saving: "saved", // saved | changed | saving | an error's sentence
  models: [],
  storeFiles: null, // of the assistant's vector store: null while they are looked up
  uploads: [], // {key, assistantId, name, size, sent, status, error, place}
  fileNames: {}, // file id -> the file object
  // Middle
  threads: null, // null while they are looked up
  threadId: null,
  messages: [], // of the thread, oldest first; null while they are looked up
  hasEarlier: false,
  attached: [], // what the next message carries: {key, file_id, name, use, status, sent, error}
  toolChoice: "auto", // what the next run has to use, as the API says it; a tool that the assistant has no more means nothing
  sending: [], // ids of the threads that something is being sent to; null for one that is not made yet
  editing: null, // id of the message that is being edited
  edits: {}, // message id -> its new text, until that is sent
  // Right
  runs: {}, // run id -> run
  steps: {}, // run id -> its steps, oldest first
  timings: {}, // run id -> {began, first, last, writing, messageId}, in milliseconds, as this page saw it
  runId: null, // whose details are shown
  activeRunId: null,
  log: [], // calls of the API, newest last
  // Around
  network: null,
  isOffline: false, // the server does not answer
  dialog: null, // {kind, ...}
  keyDialog: null, // the same, asks for a key: above whatever is open, because any call may need one
  notice: null, // {text, isError}
  column: "chat", // which column a narrow window shows
  theme: remembered.theme ?? "system",
  hasCharacterKeys: remembered.hasCharacterKeys ?? true, // whether / and ? do something
  isReady: false,
};

const listeners = new Set();

export const now = () => state;

/** @param {object | ((old: object) => object)} patch what is new */
export function set(patch) {
  const changed = typeof patch === "function" ? patch(state) : patch;
  if (!changed) return;
  state = { ...state, ...changed };
  if (REMEMBERED.some((name) => name in changed)) remember();
  for (const listener of listeners) listener();
}

function remember() {
  localStorage.setItem("offline-assistants", JSON.stringify(Object.fromEntries(REMEMBERED.map((name) => [name, state[name]]))));
}

/** The value that `select` takes from the state; the component is drawn again when it is another one. */
export function use(select) {
  const [, redraw] = useReducer((count) => count + 1, 0);
  const latest = useRef();
  latest.current = { select, value: select(state) };
  useEffect(() => {
    const look = () => {
      if (!Object.is(latest.current.select(state), latest.current.value)) redraw();
    };
    listeners.add(look);
    look();
    return () => listeners.delete(look);
  }, []);
  return latest.current.value;
}

let noticeTimer;

export function notify(text, { isError = false } = {}) {
  clearTimeout(noticeTimer);
  set({ notice: { text, isError } });
  noticeTimer = setTimeout(() => set({ notice: null }), isError ? 12_000 : 4_000);
}

/** Runs what may fail; its failure becomes a notice. That the server does not answer stands in the banner. */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error?.name !== "AbortError" && error?.status !== 0) notify(error.message, { isError: true });
    return undefined;
  }
}

export const currentAssistant = (s) => s.assistants.find((each) => each.id === s.assistantId) ?? null;
export const currentThread = (s) => s.threads?.find((each) => each.id === s.threadId) ?? null;
export const currentModel = (s) => s.models.find((each) => each.id === currentAssistant(s)?.model) ?? null;
export const titleOf = (thread) => thread?.metadata?.title || "Untitled thread";
