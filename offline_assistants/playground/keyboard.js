// Shortcuts that work wherever the keyboard is.
import { redo, undo } from "./assistants.js";
import { activeRun, stop } from "./runs.js";
import { attempt, now, set } from "./state.js";
import { open } from "./threads.js";

export const SHORTCUTS = [
  ["Ctrl Enter", "Run; submit what a function gives"],
  ["Ctrl Shift Enter", "Add the message without running"],
  ["Esc", "Stop the run; close what is open"],
  ["/", "Write a message"],
  ["↑", "In an empty box: edit your last message"],
  ["Alt N", "New thread"],
  ["Alt T", "Threads"],
  ["Alt C", "The thread as code"],
  ["Alt Z", "Undo the last change of the assistant"],
  ["Alt Y", "Redo it"],
  ["Alt 1", "Assistant (2: chat, 3: run)"],
  ["?", "This list"],
];

/** By what is written on the key, or, where Alt writes something else, by its place. */
const alt = (event) => ALT[event.key.toLowerCase()] ?? ALT[event.code.replace(/^(Key|Digit)/, "").toLowerCase()];
const ALT = {
  n: () => attempt(() => open(null)).then(focusMessage),
  t: () => set({ dialog: { kind: "threads" } }),
  c: () => now().threadId && set({ dialog: { kind: "code" } }),
  z: undo,
  y: redo,
  1: () => showColumn("assistant"),
  2: () => showColumn("chat"),
  3: () => showColumn("run"),
};

export function listen() {
  addEventListener("keydown", pressed);
}

function pressed(event) {
  if (event.defaultPrevented || now().dialog || now().keyDialog) return;
  if (event.key === "Escape" && event.target.type === "search" && event.target.value) return; // empties the box
  if (event.altKey && !event.ctrlKey && !event.metaKey && alt(event)) alt(event)();
  else if (event.key === "Escape" && activeRun(now())) stop();
  else if (isWriting(event.target) || event.ctrlKey || event.metaKey || event.altKey || !now().hasCharacterKeys) return;
  else if (event.key === "/") focusMessage();
  else if (event.key === "?") set({ dialog: { kind: "shortcuts" } });
  else return;
  event.preventDefault();
}

const isWriting = (element) => element.matches?.("input:not([type=checkbox], [type=range]), textarea, select");

function focusMessage() {
  set({ column: "chat" });
  requestAnimationFrame(() => document.getElementById("message")?.focus());
}

function showColumn(column) {
  set({ column });
  requestAnimationFrame(() => document.querySelector(`[data-column=${column}]`)?.querySelector("select, input, textarea, button")?.focus());
}
