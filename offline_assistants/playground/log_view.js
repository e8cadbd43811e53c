// The calls of the API that the page made, as they went over the wire, with the events of streams.
import { set, use } from "./state.js";
import { html, useState } from "./vendor.js";

const MAX_CHARACTERS = 20_000;

export function LogView() {
  const log = use((s) => s.log);
  return html`<section class="group">
    <div class="row"><h3 class="grow">API calls</h3>${!!log.length && html`<button type="button" class="quiet small" onClick=${() => set({ log: [] })}>Clear</button>`}</div>
    ${!log.length && html`<p class="hint">None yet.</p>`}
    <ol class="log">${log.toReversed().map((entry) => html`<${Entry} key=${entry.number} entry=${entry} />`)}</ol>
  </section>`;
}

function Entry({ entry }) {
  const [isOpen, setIsOpen] = useState(false);
  const isFailed = entry.status !== null && (entry.status === 0 || entry.status >= 400);
  return html`<li><details onToggle=${(event) => setIsOpen(event.target.open)}>
    <summary><span class=${`status ${isFailed ? "error" : ""}`}>${entry.status ?? "…"}</span><span class="method">${entry.method}</span><span class="path" title=${entry.path}>${shortened(entry.path)}</span>
      <small>${entry.milliseconds == null ? "" : `${entry.milliseconds} ms`}</small></summary>
    ${isOpen && html`<${Body} entry=${entry} />`}
  </details></li>`;
}

function Body({ entry }) {
  return html`
    ${entry.path.includes("?") && html`<p class="query">${decodeURIComponent(entry.path.split("?")[1])}</p>`}
    ${entry.body !== undefined && html`<p class="hint">Sent</p><pre tabindex="0" role="group" aria-label="Sent">${shown(entry.body)}</pre>`}
    ${entry.events && html`<p class="hint">${entry.events.length} events</p><pre tabindex="0" role="group" aria-label="Events">${entry.events.map(({ event, data }) => `${event}  ${data ? JSON.stringify(data) : ""}`).join("\n").slice(0, MAX_CHARACTERS)}</pre>`}
    ${entry.answer !== undefined && html`<p class="hint">Answered</p><pre tabindex="0" role="group" aria-label="Answered">${shown(entry.answer)}</pre>`}
  `;
}

/** Without the version and the query, and with dots for ids. */
const shortened = (path) => decodeURIComponent(path.split("?")[0]).replace(/^\/v1/, "").replace(/\/\w+[_-]\w{20,}/g, "/…"); // prettier-ignore

const shown = (value) => (typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "")).slice(0, MAX_CHARACTERS);
