// The left column: which assistant, and what it is.
import { canRedo, canUndo, change, clone, create, pick, redo, removeAssistant, saveProblem, undo } from "./assistants.js";
import { checkFormat } from "./json_check.js";
import { Icon, IconButton } from "./icons.js";
import { attempt, currentAssistant, currentModel, notify, set, use } from "./state.js";
import { ToolsPanel } from "./tools_panel.js";
import { html, useState } from "./vendor.js";

export function AssistantPanel() {
  const assistant = use(currentAssistant);
  const isReady = use((s) => s.isReady);
  return html`<section class="panel" data-column="assistant" aria-label="Assistant">
    <div class="bar"><h2>Assistant</h2><${Saving} /></div>
    <div class="panel-body">
      <${Picker} />
      ${assistant ? html`<${Fields} key=${assistant.id} assistant=${assistant} />` : isReady && html`<${NoAssistant} />`}
    </div>
  </section>`;
}

function Saving() {
  const saving = use((s) => s.saving);
  if (!use(currentAssistant)) return null; // undo and redo change with it, too
  const isFailed = !!use(saveProblem);
  return html`<span class=${`saving ${isFailed ? "error" : ""}`} role="status">${{ saved: "Saved", changed: "Saving…", saving: "Saving…" }[saving] ?? "Not saved"}</span>
    <${IconButton} name="undo" label="Undo the last change" disabled=${!canUndo()} onClick=${undo} />
    <${IconButton} name="redo" label="Redo" disabled=${!canRedo()} onClick=${redo} />`;
}

function Picker() {
  const assistants = use((s) => s.assistants);
  const id = use((s) => s.assistantId);
  return html`<div class="row picker">
    ${!!assistants.length &&
    html`<label class="hidden" for="assistant">Which assistant</label>
      <select id="assistant" value=${id} onChange=${(event) => pick(event.target.value)}>
        ${assistants.map((each) => html`<option key=${each.id} value=${each.id}>${each.name || each.id}</option>`)}
      </select>
      <${IconButton} name="clone" label="Clone this assistant" onClick=${() => attempt(clone)} />
      <${IconButton} name="delete" label="Delete this assistant" onClick=${confirmDeletion} />`}
    ${!!assistants.length && html`<${IconButton} name="add" label="Create an assistant" onClick=${() => attempt(create)} />`}
  </div>`;
}

const NoAssistant = () => html`<div class="empty small">
  <p>An assistant is a model with instructions and tools.</p>
  <button type="button" class="primary" onClick=${() => attempt(create)}><${Icon} name="add" />Create an assistant</button>
</div>`;

function confirmDeletion() {
  set((s) => {
    const assistant = currentAssistant(s);
    const text = `"${assistant.name || assistant.id}" is gone then. Its threads and files stay.`;
    return { dialog: { kind: "confirm", title: "Delete this assistant?", text, action: "Delete", onConfirm: () => removeAssistant(assistant.id) } };
  });
}

function Fields({ assistant }) {
  const problem = use(saveProblem);
  const copyId = () => navigator.clipboard.writeText(assistant.id).then(() => notify("The id is copied."), () => {}); // prettier-ignore
  return html`
    ${problem && html`<p class="error box" role="alert">${problem}</p>`}
    <button type="button" class="id" title="Copy the id" onClick=${copyId}>${assistant.id}</button>
    <label class="field">Name<input value=${assistant.name ?? ""} maxlength="256" placeholder="A name" onInput=${(event) => change({ name: event.target.value })} /></label>
    <label class="field">Instructions
      <textarea class="instructions" rows="6" placeholder="What the assistant is for, and how it should answer" value=${assistant.instructions ?? ""}
        onInput=${(event) => change({ instructions: event.target.value })}></textarea></label>
    <${ModelField} assistant=${assistant} />
    <${ToolsPanel} assistant=${assistant} />
    <section class="group">
      <h3>Answers</h3>
      <${FormatField} assistant=${assistant} />
      <${Slider} name="temperature" label="Temperature" max="2" assistant=${assistant} />
      <${Slider} name="top_p" label="Top P" max="1" assistant=${assistant} />
    </section>
  `;
}

// ── Model ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function ModelField({ assistant }) {
  const models = use((s) => s.models);
  const model = use(currentModel);
  const chat = models.filter((each) => each.kind === "chat");
  const isListed = chat.some((each) => each.id === assistant.model);
  return html`<label class="field">Model
      <select value=${assistant.model} onChange=${(event) => change({ model: event.target.value })}>
        ${!isListed && html`<option value=${assistant.model}>${assistant.model}</option>`}
        ${chat.map((each) => html`<option key=${each.id} value=${each.id}>${each.id}</option>`)}
      </select></label>
    <p class="facts">
      ${model
        ? html`<span class=${`dot ${model.is_loaded ? "on" : ""}`}></span>${model.is_loaded ? "Loaded" : "Loads when it is asked"}
            ${!!model.size_bytes && html`<span>${sizeOf(model.size_bytes)}</span>`}
            ${!!model.context_tokens && html`<span>${model.context_tokens.toLocaleString("en")} tokens of context</span>`}`
        : "A name that stands for a model of this machine"}
    </p>`;
}

export function sizeOf(bytes) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const value = bytes / 1000 ** power;
  return `${value < 10 && power ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

// ── Answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const SCHEMA_EXAMPLE = { name: "answer", schema: { type: "object", properties: { answer: { type: "string" } }, required: ["answer"], additionalProperties: false } };

function FormatField({ assistant }) {
  const format = assistant.response_format;
  const kind = typeof format === "string" ? "auto" : format.type;
  const chosen = (value) => {
    if (value === "auto") change({ response_format: "auto" });
    else if (value === "json_schema") change({ response_format: { type: value, json_schema: SCHEMA_EXAMPLE } });
    else change({ response_format: { type: value } });
  };
  return html`<label class="field">Response format
      <select value=${kind} onChange=${(event) => chosen(event.target.value)}>
        <option value="auto">Automatic</option>
        <option value="text">Text</option>
        <option value="json_object">JSON object</option>
        <option value="json_schema">JSON schema</option>
      </select></label>
    ${kind === "json_schema" && html`<${SchemaField} value=${format.json_schema} />`}`;
}

function SchemaField({ value }) {
  const [draft, setDraft] = useState(null);
  const text = draft ?? JSON.stringify(value, null, 2);
  const { problem } = checkFormat(text);
  const changed = (event) => {
    const { value: checked, problem: found } = checkFormat(event.target.value);
    setDraft(event.target.value);
    if (!found) change({ response_format: { type: "json_schema", json_schema: checked } });
  };
  return html`<label class="field">JSON schema
      <textarea class="mono" rows="10" spellcheck=${false} value=${text} onInput=${changed} onBlur=${() => !problem && setDraft(null)}
        aria-invalid=${!!problem} aria-describedby="schema-problem"></textarea></label>
    <p id="schema-problem" class=${problem ? "error" : "hint"} role="status">${problem ?? "Valid. A grammar holds the model to it."}</p>`;
}

function Slider({ name, label, max, assistant }) {
  const value = assistant[name] ?? 1;
  const changed = (event) => {
    const number = Number(event.target.value);
    if (event.target.value !== "" && number >= 0 && number <= Number(max)) change({ [name]: number });
  };
  return html`<div class="slider">
    <label for=${name}>${label}</label>
    <input type="range" id=${name} min="0" max=${max} step="0.01" value=${value} onInput=${changed} />
    <input type="number" aria-label=${`${label}, as a number`} min="0" max=${max} step="0.01" value=${value} onInput=${changed} />
  </div>`;
}
