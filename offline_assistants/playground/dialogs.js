// What opens above the page. The browser's own dialog keeps the keyboard inside and gives the focus back.
import { key, useKey } from "./api.js";
import { toolChoice } from "./assistants.js";
import { FunctionEditor } from "./function_editor.js";
import { Icon, IconButton } from "./icons.js";
import { attempt, currentAssistant, notify, now, set, use } from "./state.js";
import { SHORTCUTS } from "./keyboard.js";
import { SourceView } from "./source_view.js";
import { ThreadList } from "./thread_list.js";
import { html, hljs, useEffect, useRef, useState } from "./vendor.js";
import { asCurl, asPython } from "./view_code.js";

const KINDS = { address: Address, code: Code, confirm: Confirm, function: Function, key: Key, network: Network, shortcuts: Shortcuts, source: Source, threads: Threads };
const LABELS = { address: "An address outside", code: "The thread as code", function: "Function", key: "API key", network: "Network", shortcuts: "Keyboard", source: "Source", threads: "Threads" };
const WIDE = new Set(["code", "function", "source"]);

export const Dialogs = () => html`<${Dialog} place="dialog" /><${Dialog} place="keyDialog" />`;

/** `place`: in the state. */
function Dialog({ place }) {
  const dialog = use((s) => s[place]);
  const box = useRef();
  const close = () => set((s) => (s[place] === dialog ? { [place]: null } : null));
  useEffect(() => {
    if (dialog && !box.current.open) box.current.showModal();
  }, [dialog]);
  if (!dialog) return null;
  const Kind = KINDS[dialog.kind];
  const outside = (event) => {
    if (event.target === box.current && dialog.kind !== "key") box.current.close();
  };
  return html`<dialog ref=${box} key=${dialog.kind} class=${WIDE.has(dialog.kind) ? "wide" : ""} aria-label=${LABELS[dialog.kind] ?? dialog.title} onClose=${close} onClick=${outside}>
    <div class="dialog-body">
      <${Kind} ...${dialog} onClose=${() => box.current.close()} />
      <${IconButton} name="close" label="Close" class="icon-button close" onClick=${() => box.current.close()} />
    </div>
  </dialog>`;
}

function Confirm({ title, text, action, onConfirm, onClose }) {
  const confirmed = () => {
    onClose();
    attempt(onConfirm);
  };
  return html`<h2>${title}</h2><p>${text}</p>
    <div class="row"><span class="grow"></span><button type="button" class="quiet" onClick=${onClose}>Cancel</button>
      <button type="button" class="primary danger" onClick=${confirmed}>${action}</button></div>`;
}

function Key({ message, done, onClose }) {
  useEffect(() => done, []); // closed without a key: the call is made again all the same, and fails with the server's words
  const submit = (event) => {
    event.preventDefault();
    useKey(new FormData(event.target).get("key").trim());
    onClose();
  };
  return html`<h2>This server asks for a key</h2>
    <p>Make one with <code>offline-assistants keys create</code>. The page keeps it until this tab is closed.</p>
    ${message && html`<p class="error" role="alert">${message}</p>`}
    <form onSubmit=${submit}><label class="field">API key<input name="key" type="password" autocomplete="off" required ref=${(input) => input?.focus()} /></label>
      <div class="row"><span class="grow"></span><button type="submit" class="primary">Use this key</button></div></form>`;
}

function Code() {
  const [language, setLanguage] = useState("python");
  const s = now();
  const thread = { assistant: currentAssistant(s), messages: (s.messages ?? []).filter((each) => each.role === "user"), toolChoice: toolChoice(s), origin: location.origin, needsKey: !!key() };
  const text = language === "python" ? asPython(thread) : asCurl(thread);
  const place = useRef();
  useEffect(() => {
    place.current.replaceChildren(...highlighted(text, language === "python" ? "python" : "bash"));
  }, [text]);
  const copy = () => navigator.clipboard.writeText(text).then(() => notify("Copied."), () => {}); // prettier-ignore
  return html`<h2>This thread as code</h2>
    <div class="row tabs-row" role="group" aria-label="Language">
      <button type="button" class="quiet" aria-pressed=${language === "python"} onClick=${() => setLanguage("python")}>Python</button>
      <button type="button" class="quiet" aria-pressed=${language === "curl"} onClick=${() => setLanguage("curl")}>curl</button>
      <span class="grow"></span><button type="button" class="quiet" onClick=${copy}><${Icon} name="clone" />Copy</button></div>
    <pre class="program" tabindex="0" role="group" aria-label="Program"><code class="hljs" ref=${place}></code></pre>`;
}

/** Highlighted nodes without a detour over HTML: highlight.js' own tree of scopes. */
function highlighted(text, language) {
  const make = (node) => {
    if (typeof node === "string") return document.createTextNode(node);
    const span = document.createElement("span");
    if (node.scope) span.className = node.scope.split(".").map((part, index) => (index ? `${part}_` : `hljs-${part}`)).join(" "); // prettier-ignore
    span.append(...node.children.map(make));
    return span;
  };
  return hljs.highlight(text, { language })._emitter.rootNode.children.map(make);
}

function Network() {
  const network = use((s) => s.network);
  return html`<h2>Network</h2>
    ${!network || network.watched_since == null
      ? html`<p>Nothing watches what this server reaches out to.</p>`
      : html`<p>${network.num_attempts ? `The server tried ${network.num_attempts === 1 ? "once" : `${network.num_attempts} times`} to reach another machine:` : "The server has not tried to reach any other machine"}${network.num_attempts ? "" : ` since ${new Date(network.watched_since * 1000).toLocaleString()}.`}</p>
          ${!!network.data.length && html`<ul class="attempts">${network.data.map((each) => html`<li><code>${each.address}</code><small>${each.kind}, ${new Date(each.created_at * 1000).toLocaleTimeString()}</small></li>`)}</ul>`}`}
    <p class="hint">Watched are connections, datagrams and look-ups of names by the server's own process; not its children, which have no reason for any. The page itself may only speak to this server: its security policy refuses all else.</p>`;
}

function Address({ address, onClose }) {
  const copy = () => navigator.clipboard.writeText(address).then(() => notify("Copied."), () => {}); // prettier-ignore
  const isWeb = /^https?:\/\//i.test(address);
  return html`<h2>This leads outside</h2><p>The model named this address. Nothing has been fetched from it.</p><p class="address"><code>${address}</code></p>
    <div class="row"><span class="grow"></span><button type="button" class="quiet" onClick=${copy}>Copy</button>
      ${isWeb && html`<button type="button" class="primary" onClick=${() => { window.open(address, "_blank", "noopener,noreferrer"); onClose(); }}>Open in a new tab</button>`}</div>`;
}

function Shortcuts() {
  const hasCharacterKeys = use((s) => s.hasCharacterKeys);
  return html`<h2>Keyboard</h2><dl class="shortcuts">${SHORTCUTS.map(([keys, what]) => html`<div><dt>${keys.split(" ").map((each) => html`<kbd>${each}</kbd>`)}</dt><dd>${what}</dd></div>`)}</dl>
    <label class="row switch"><span class="grow">Use the keys <kbd>/</kbd> and <kbd>?</kbd>, too</span>
      <input type="checkbox" role="switch" checked=${hasCharacterKeys} onChange=${(event) => set({ hasCharacterKeys: event.target.checked })} /></label>`;
}

function Function({ definition, onClose }) {
  return html`<${FunctionEditor} definition=${definition} onClose=${onClose} />`;
}

function Source({ citation, runId }) {
  return html`<${SourceView} citation=${citation} runId=${runId} />`;
}

function Threads({ onClose }) {
  return html`<h2>Threads</h2><${ThreadList} onPick=${onClose} />`;
}
