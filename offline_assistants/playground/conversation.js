// The middle column: the messages of a thread, and what comes next.
import { ActionForm } from "./action_form.js";
import { create } from "./assistants.js";
import { Composer } from "./composer.js";
import { attach } from "./files.js";
import { IconButton, Icon } from "./icons.js";
import { Message } from "./message.js";
import { activeRun, isActive, isBusy, retry } from "./runs.js";
import { attempt, currentThread, set, titleOf, use } from "./state.js";
import { exportThread, loadEarlier } from "./threads.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor.js";

export function Conversation() {
  const [isOver, setIsOver] = useState(false);
  const drop = (event) => {
    event.preventDefault();
    setIsOver(false);
    if (event.dataTransfer.files.length) attach(event.dataTransfer.files);
  };
  const over = (event) => {
    event.preventDefault();
    setIsOver(true);
  };
  return html`<section aria-label="Conversation" class=${`conversation ${isOver ? "drop-here" : ""}`} data-column="chat" onDrop=${drop} onDragOver=${over} onDragLeave=${() => setIsOver(false)}>
    <${ThreadHeader} />
    <${Messages} />
    <${Composer} />
  </section>`;
}

function ThreadHeader() {
  const thread = use(currentThread);
  const threadId = use((s) => s.threadId);
  const save = (event, kind) => {
    event.target.closest("details").open = false;
    attempt(() => exportThread(kind));
  };
  const left = (event) => {
    const menu = event.currentTarget;
    if (event.type === "keydown" && (event.key !== "Escape" || !menu.open)) return;
    if (event.type === "keydown") event.preventDefault(); // it closes this, and stops no run
    else if (menu.contains(event.relatedTarget)) return;
    menu.open = false;
  };
  return html`<div class="bar">
    <button type="button" class="quiet threads-button" onClick=${() => set({ dialog: { kind: "threads" } })}><${Icon} name="list" />Threads</button>
    <h2 title=${threadId ?? ""}>${threadId ? titleOf(thread) : "New thread"}</h2>
    ${threadId &&
    html`<button type="button" class="quiet" aria-label="View code" title="View code" onClick=${() => set({ dialog: { kind: "code" } })}><${Icon} name="code" /><span>View code</span></button>
      <details class="menu" onKeyDown=${left} onFocusOut=${left}>
        <summary class="icon-button" aria-label="Export the thread" title="Export"><${Icon} name="download" /></summary>
        <div>
          <button type="button" class="quiet" onClick=${(event) => save(event, "md")}>Export as Markdown</button>
          <button type="button" class="quiet" onClick=${(event) => save(event, "json")}>Export as JSON</button>
        </div>
      </details>`}
  </div>`;
}

const NEAR_PX = 120;
const INPUT_MS = 500; // so long after a wheel, a key or a finger, what scrolls is their doing

function Messages() {
  const messages = use((s) => s.messages);
  const hasEarlier = use((s) => s.hasEarlier);
  const threadId = use((s) => s.threadId);
  const box = useRef();
  const inner = useRef();
  const follows = useRef(true); // the end stays in sight until somebody scrolls away from it
  const last = useRef({ top: 0, height: 0, input: -Infinity });
  const anchor = useRef(null); // the message that stays where it is while earlier ones come above it
  const [isAway, setIsAway] = useState(false);

  useEffect(() => {
    follows.current = true;
  }, [threadId]);
  useEffect(() => {
    const grown = new ResizeObserver(() => follows.current && toEnd()); // pictures come after the words around them
    grown.observe(inner.current);
    return () => grown.disconnect();
  }, []);
  useLayoutEffect(() => {
    const list = box.current;
    if (follows.current) list.scrollTop = list.scrollHeight;
    if (!anchor.current || messages?.[0]?.id === anchor.current.id) return;
    const moved = document.getElementById(anchor.current.id);
    if (moved) list.scrollTop += moved.getBoundingClientRect().top - anchor.current.top;
    anchor.current = null;
  });
  const scrolled = () => {
    const list = box.current;
    const isNear = list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_PX;
    const { top, height, input } = last.current;
    if (isNear) follows.current = true;
    else if (list.scrollTop < top && (list.scrollHeight === height || performance.now() - input < INPUT_MS)) follows.current = false; // somebody went up: a layout that changed is no reason
    Object.assign(last.current, { top: list.scrollTop, height: list.scrollHeight });
    setIsAway(!follows.current);
    if (list.scrollTop < 400 && hasEarlier) more();
  };
  const touched = () => (last.current.input = performance.now());
  const isLoading = useRef(false);
  const more = async () => {
    if (isLoading.current) return;
    isLoading.current = true;
    await attempt(async () => {
      const [{ id }] = messages;
      anchor.current = { id, top: document.getElementById(id).getBoundingClientRect().top };
      await loadEarlier();
    });
    isLoading.current = false;
    requestAnimationFrame(() => box.current?.dispatchEvent(new Event("scroll"))); // whoever scrolled on meanwhile wants more
  };
  const toEnd = () => {
    follows.current = true;
    box.current.scrollTop = box.current.scrollHeight;
  };
  return html`<div class="scroll-place">
    <div class="messages" ref=${box} onScroll=${scrolled} onWheel=${touched} onTouchMove=${touched} onKeyDown=${touched} tabindex="0" role="region" aria-label="Messages">
      <div class="message-list" ref=${inner}>
        ${hasEarlier && html`<button type="button" class="quiet earlier" onClick=${more}>Show earlier messages</button>`}
        ${messages === null && html`<p class="hint middle">Looking for messages…</p>`}
        ${messages?.length === 0 && html`<${Empty} />`}
        ${messages?.map((message) => html`<${Message} key=${message.id} message=${message} />`)}
        <${RunState} />
      </div>
    </div>
    ${isAway && html`<${IconButton} name="down" label="To the newest message" class="icon-button to-end" onClick=${toEnd} />`}
  </div>`;
}

function Empty() {
  const hasAssistant = use((s) => !!s.assistantId);
  const isReady = use((s) => s.isReady);
  if (!isReady) return html`<p class="hint middle">Starting…</p>`;
  return html`<div class="empty">
    <${Icon} name="chat" />
    <p>${hasAssistant ? "Ask something. Nothing of it leaves this machine." : "There is no assistant yet."}</p>
    ${!hasAssistant && html`<p class="hint wide-only">Create one on the left: a model, instructions, and tools.</p>
      <button type="button" class="primary narrow-only" onClick=${() => attempt(create)}><${Icon} name="add" />Create an assistant</button>`}
  </div>`;
}

const DOING = { queued: "Waiting for the model", in_progress: "Working", cancelling: "Stopping", requires_action: "Waiting for your answer" };
const ENDED = { failed: "The run failed", expired: "The run expired: nobody answered in time", cancelled: "Stopped", incomplete: "The answer is cut off" };

/** What the run of this thread does, or why it ended without an answer. */
function RunState() {
  const active = use(activeRun);
  const latest = use((s) => s.runs[s.runId]);
  const step = use((s) => s.steps[s.activeRunId]?.at(-1));
  const isWaiting = use(isBusy);
  if (active?.status === "requires_action") return html`<${ActionForm} run=${active} />`;
  if (isWaiting) {
    const tool = step?.status === "in_progress" && step.step_details.tool_calls?.at(-1)?.type;
    const doing = { code_interpreter: "Running code", file_search: "Searching files", function: "Calling a function" }[tool];
    return html`<p class="run-state" role="status"><span class="dots" aria-hidden="true"><i></i><i></i><i></i></span>${doing ?? DOING[active?.status] ?? "Sending"}…</p>`;
  }
  if (!latest || isActive(latest) || !ENDED[latest.status]) return html`<span class="hidden" role="status">${latest ? "The answer is complete." : ""}</span>`;
  const why = latest.last_error?.message ?? { max_completion_tokens: "the limit of tokens was reached", max_prompt_tokens: "the prompt is too long" }[latest.incomplete_details?.reason];
  return html`<div class=${`run-state ended ${latest.status}`} role="status">
    <${Icon} name=${latest.status === "cancelled" ? "stop" : "warn"} />
    <span>${ENDED[latest.status]}${why ? `: ${why}` : "."}</span>
    <button type="button" class="quiet" onClick=${() => retry()}><${Icon} name="retry" />Try again</button>
  </div>`;
}
