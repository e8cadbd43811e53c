// The list of threads: searched, opened, renamed, deleted.
import { IconButton, Icon } from "./icons.js";
import { attempt, set, titleOf, use } from "./state.js";
import { open, removeThread, rename } from "./threads.js";
import { html, useEffect, useRef, useState } from "./vendor.js";

const MAX_SHOWN = 300;

export function ThreadList({ onPick }) {
  const threads = use((s) => s.threads);
  const shownId = use((s) => s.threadId);
  const [query, setQuery] = useState("");
  const [renaming, setRenaming] = useState(null);
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = (threads ?? []).filter((each) => words.every((word) => `${titleOf(each)} ${each.id}`.toLowerCase().includes(word)));
  const choose = async (id) => {
    onPick?.();
    await attempt(() => open(id));
    document.getElementById("message")?.focus();
  };
  return html`<div class="thread-list">
    <label class="search"><${Icon} name="search" /><span class="hidden">Search threads</span>
      <input type="search" placeholder="Search threads" value=${query} onInput=${(event) => setQuery(event.target.value)} /></label>
    <button type="button" class="tinted wide" onClick=${() => choose(null)}><${Icon} name="add" />New thread</button>
    ${threads === null && html`<p class="hint">Looking for threads…</p>`}
    ${threads?.length === 0 && html`<p class="hint">No threads yet. The first message makes one.</p>`}
    ${!!threads?.length && !found.length && html`<p class="hint">No thread is called that.</p>`}
    <ul>
      ${found.slice(0, MAX_SHOWN).map(
        (thread) => html`<li key=${thread.id} class=${thread.id === shownId ? "current" : ""}>
          ${renaming === thread.id
            ? html`<${Renaming} thread=${thread} onDone=${() => setRenaming(null)} />`
            : html`<button type="button" class="thread" aria-current=${thread.id === shownId ? "true" : undefined} onClick=${() => choose(thread.id)}>
                  <span>${titleOf(thread)}</span><small>${whenOf(thread.created_at)}</small>
                </button>
                <${IconButton} name="edit" label=${`Rename ${titleOf(thread)}`} onClick=${() => setRenaming(thread.id)} />
                <${IconButton} name="delete" label=${`Delete ${titleOf(thread)}`} onClick=${() => confirmDeletion(thread)} />`}
        </li>`,
      )}
    </ul>
    ${found.length > MAX_SHOWN && html`<p class="hint">${found.length - MAX_SHOWN} more. Search to find them.</p>`}
  </div>`;
}

function Renaming({ thread, onDone }) {
  const box = useRef();
  const [title] = useState(titleOf(thread)); // a redrawing leaves alone what is being typed
  useEffect(() => box.current.focus(), []);
  const finish = (event) => {
    event.preventDefault();
    attempt(() => rename(thread.id, new FormData(event.target).get("title")));
    onDone();
  };
  const leave = (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    event.preventDefault();
    onDone();
  };
  return html`<form class="renaming" onSubmit=${finish} onKeyDown=${leave}>
    <input name="title" aria-label="Title of the thread" defaultValue=${title} maxlength="512" ref=${box} />
    <${IconButton} name="check" label="Save the title" type="submit" />
  </form>`;
}

function confirmDeletion(thread) {
  set({
    dialog: {
      kind: "confirm",
      title: "Delete this thread?",
      text: `"${titleOf(thread)}" goes with its messages and runs. Files and vector stores stay.`,
      action: "Delete",
      onConfirm: () => removeThread(thread.id),
    },
  });
}

export function whenOf(seconds) {
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : date.toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
}
