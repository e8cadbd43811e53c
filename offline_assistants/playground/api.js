// The door to the server: the public API and nothing else. Every call is written to the log that the right column shows.
import { readEvents } from "./sse.js";
import { now, set } from "./state.js";

const MAX_CALLS = 200;
const MAX_EVENTS = 2000;
const KEY = "offline-assistants-key";
let callNumber = 0;
let asking = null;

/** A failure in the API's own words. */
export class ApiError extends Error {
  constructor(message, status, param) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

// ── Keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

export const key = () => sessionStorage.getItem(KEY) ?? "";

export function useKey(text) {
  sessionStorage.setItem(KEY, text);
}

function headers(extra = {}) {
  return { "OpenAI-Beta": "assistants=v2", ...(key() ? { Authorization: `Bearer ${key()}` } : {}), ...extra };
}

/** Asks for a key, once for all calls that need one. */
function askForKey(message) {
  asking ??= new Promise((resolve) => {
    const done = () => {
      asking = null;
      resolve();
    };
    set({ keyDialog: { kind: "key", message: key() ? message : null, done } });
  });
  return asking;
}

// ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────────

export async function call(method, path, body, { signal, isQuiet, keepalive } = {}) {
  const options = { method, signal, keepalive, headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }) };
  if (body !== undefined) options.body = JSON.stringify(body);
  const entry = isQuiet ? null : begin(method, path, body);
  const response = await send(path, options, entry);
  const answer = await response.json();
  finish(entry, { status: response.status, answer });
  return answer;
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body = {}, options) => call("POST", path, body, options);
export const remove = (path) => call("DELETE", path);

/** `entry` in the log; a quiet call has none, and asks nobody for a key. */
async function send(path, options, entry) {
  let response;
  try {
    response = await fetch(path, options);
    if (now().isOffline) set({ isOffline: false });
  } catch (error) {
    finish(entry, { status: 0, answer: String(error) });
    if (error.name === "AbortError") throw error;
    set({ isOffline: true });
    throw new ApiError("The server does not answer. Is it still running?", 0);
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  if (response.status === 401) {
    const refused = options.headers.Authorization;
    if (entry && refused === headers().Authorization) await askForKey(answer?.error?.message);
    if (refused !== headers().Authorization) return send(path, { ...options, headers: { ...options.headers, ...headers() } }, entry);
  }
  finish(entry, { status: response.status, answer });
  throw new ApiError(answer?.error?.message ?? `The server answered ${response.status}.`, response.status, answer?.error?.param);
}

/** Every object of a list, page after page; `limit` ends it early. */
export async function listAll(path, { limit = Infinity, ...options } = {}) {
  const found = [];
  let after = "";
  for (;;) {
    const page = await get(`${path}${path.includes("?") ? "&" : "?"}limit=100${after && `&after=${after}`}`, options);
    found.push(...page.data);
    if (!page.has_more || found.length >= limit) return found;
    after = page.last_id;
  }
}

/** The events of a POST whose body says `stream: true`. */
export async function* stream(path, body, { signal } = {}) {
  const entry = begin("POST", path, body);
  const response = await send(path, { method: "POST", signal, headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body) }, entry);
  const events = [];
  finish(entry, { status: response.status, events });
  for await (const event of readEvents(response.body)) {
    if (events.length < MAX_EVENTS) events.push(event);
    yield event;
  }
  finish(entry, { status: response.status, events });
}

/** A file's content. */
export async function content(fileId, type = "application/octet-stream") {
  const path = `/v1/files/${fileId}/content`;
  const entry = begin("GET", path);
  const response = await send(path, { headers: headers() }, entry);
  const bytes = await response.arrayBuffer();
  finish(entry, { status: response.status, answer: `${bytes.byteLength} bytes` });
  return new Blob([bytes], { type });
}

/** Sends a file; `onSent` hears how many bytes have left. fetch cannot tell. */
export function upload(file, purpose, onSent) {
  const entry = begin("POST", "/v1/files", { purpose, file: file.name });
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("purpose", purpose);
    form.append("file", file);
    request.open("POST", "/v1/files");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onSent?.(event.loaded / Math.max(1, event.total));
    request.onerror = () => {
      finish(entry, { status: 0, answer: "The upload broke off." });
      reject(new ApiError("The upload broke off. Is the server still running?", 0));
    };
    request.onload = () => {
      const answer = parse(request.responseText);
      finish(entry, { status: request.status, answer });
      if (request.status < 300) resolve(answer);
      else reject(new ApiError(answer?.error?.message ?? `The server answered ${request.status}.`, request.status));
    };
    request.send(form);
  });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// ── The log ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function begin(method, path, body) {
  const entry = { number: ++callNumber, at: Date.now(), method, path, body, status: null };
  set((s) => ({ log: [...s.log.slice(1 - MAX_CALLS), entry] }));
  return entry;
}

function finish(entry, result) {
  if (!entry) return;
  const ended = { ...result, milliseconds: Date.now() - entry.at };
  set((s) => ({ log: s.log.map((each) => (each.number === entry.number ? { ...each, ...ended } : each)) }));
}
