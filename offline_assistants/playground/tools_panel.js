// The tools of an assistant: file search with its files, code interpreter with its files, functions.
import { listAll } from "./api.js";
import { hasTool, removeFunction, switchTool } from "./assistants.js";
import { sizeOf } from "./assistant_panel.js";
import { addFiles, codeFilesOf, download, forgetUpload, removeFromCode, removeFromStore, storeIdOf, useStore, loadStoreFiles } from "./files.js";
import { Icon, IconButton } from "./icons.js";
import { attempt, set, use } from "./state.js";
import { html, useEffect, useState } from "./vendor.js";

export function ToolsPanel({ assistant }) {
  const functions = assistant.tools.filter((tool) => tool.type === "function").map((tool) => tool.function);
  const hasSearch = hasTool(assistant, "file_search");
  const hasCode = hasTool(assistant, "code_interpreter");
  return html`<section class="group">
    <h3>Tools</h3>
    <${Switch} type="file_search" label="File search" isOn=${hasSearch} />
    ${hasSearch &&
    html`<${FilePlace} place="file_search" hint="Drop documents here"><${StorePicker} assistant=${assistant} /><${StoreFiles} /></${FilePlace}>`}
    <${Switch} type="code_interpreter" label="Code interpreter" isOn=${hasCode} />
    ${hasCode && html`<${FilePlace} place="code_interpreter" hint="Drop data here"><${CodeFiles} assistant=${assistant} /></${FilePlace}>`}
    <div class="row tool-row">
      <span class="grow">Functions</span>
      <button type="button" class="quiet" onClick=${() => set({ dialog: { kind: "function" } })}><${Icon} name="add" />Add</button>
    </div>
    ${!!functions.length &&
    html`<ul class="file-list" aria-label="Functions">
      ${functions.map(
        (each) => html`<li key=${each.name}>
          <${Icon} name="code" /><button type="button" class="name plain-button" title=${each.description ?? each.name} onClick=${() => set({ dialog: { kind: "function", definition: each } })}>${each.name}</button>
          <${IconButton} name="delete" label=${`Remove ${each.name}`} onClick=${() => removeFunction(each.name)} />
        </li>`,
      )}
    </ul>`}
  </section>`;
}

function Switch({ type, label, isOn }) {
  return html`<label class="row tool-row switch"><span class="grow">${label}</span>
    <input type="checkbox" role="switch" checked=${isOn} onChange=${(event) => switchTool(type, event.target.checked)} /></label>`;
}

/** A place into which files are dropped, or chosen, with the uploads that are under way. */
function FilePlace({ place, hint, children }) {
  const [isOver, setIsOver] = useState(false);
  const assistantId = use((s) => s.assistantId);
  const uploads = use((s) => s.uploads).filter((each) => each.place === place && each.assistantId === assistantId);
  const over = (is) => (event) => {
    event.preventDefault();
    setIsOver(is);
  };
  const drop = (event) => {
    over(false)(event);
    event.stopPropagation();
    addFiles(event.dataTransfer.files, place);
  };
  const chosen = (event) => {
    addFiles([...event.target.files], place);
    event.target.value = "";
  };
  return html`<div class=${`file-place ${isOver ? "drop-here" : ""}`} onDragOver=${over(true)} onDragLeave=${over(false)} onDrop=${drop}>
    ${children}
    ${!!uploads.length && html`<ul class="file-list" aria-label="Uploads">${uploads.map((each) => html`<${Upload} key=${each.key} upload=${each} />`)}</ul>`}
    <label class="file-button add-files"><${Icon} name="add" /><span>Add files</span><small>${hint}</small>
      <input type="file" multiple aria-label=${`Add files for ${place === "file_search" ? "file search" : "code interpreter"}`} onChange=${chosen} /></label>
  </div>`;
}

function Upload({ upload }) {
  const percent = Math.round(upload.sent * 100);
  return html`<li class=${upload.status}>
    <${Icon} name=${upload.status === "failed" ? "warn" : "file"} /><span class="name" title=${upload.name}>${upload.name}</span>
    ${upload.status === "failed"
      ? html`<${IconButton} name="close" label=${`Forget ${upload.name}`} onClick=${() => forgetUpload(upload.key)} /><p class="error">${upload.error}</p>`
      : html`<progress max="1" value=${upload.sent} aria-label=${`Sending ${upload.name}`}></progress><small>${percent} %</small>`}
  </li>`;
}

// ── File search ──────────────────────────────────────────────────────────────────────────────────────────────────────

function StorePicker({ assistant }) {
  const [stores, setStores] = useState(null);
  const storeId = storeIdOf(assistant);
  const count = use((s) => s.storeFiles?.length);
  useEffect(() => {
    attempt(async () => setStores(await listAll("/v1/vector_stores", { limit: 500, isQuiet: true })));
  }, [storeId, count]);
  const chosen = (event) =>
    attempt(async () => {
      set({ storeFiles: null });
      await useStore(event.target.value || null);
      await loadStoreFiles();
    });
  const isListed = !storeId || stores?.some((each) => each.id === storeId);
  return html`<label class="field tight">Vector store
    <select value=${storeId ?? ""} onChange=${chosen}>
      <option value="">${storeId ? "None" : "A new one, with the first file"}</option>
      ${!isListed && html`<option value=${storeId}>${storeId}</option>`}
      ${stores?.map((each) => html`<option key=${each.id} value=${each.id}>${each.name || each.id} (${each.file_counts.total})</option>`)}
    </select></label>`;
}

function StoreFiles() {
  const files = use((s) => s.storeFiles);
  const names = use((s) => s.fileNames);
  if (files === null) return html`<p class="hint">Looking for files…</p>`;
  if (!files.length) return null;
  return html`<ul class="file-list" aria-label="Files of file search">
    ${files.map((file) => {
      const name = names[file.id]?.filename ?? file.id;
      return html`<li key=${file.id} class=${file.status}>
        <${Icon} name=${file.status === "failed" ? "warn" : "file"} />
        <button type="button" class="name plain-button" title=${`Download ${name}`} onClick=${() => attempt(() => download(file.id))}>${name}</button>
        ${file.status === "in_progress" && html`<progress aria-label=${`${name} is being indexed`}></progress>`}
        ${file.status === "completed" && html`<small>${sizeOf(names[file.id]?.bytes ?? 0)}</small>`}
        ${file.status === "cancelled" && html`<small>cancelled</small>`}
        <${IconButton} name="delete" label=${`Remove ${name}`} onClick=${() => attempt(() => removeFromStore(file.id))} />
        ${file.status === "failed" && html`<p class="error">${file.last_error?.message}</p>`}
      </li>`;
    })}
  </ul>`;
}

// ── Code interpreter ─────────────────────────────────────────────────────────────────────────────────────────────────

function CodeFiles({ assistant }) {
  const names = use((s) => s.fileNames);
  const ids = codeFilesOf(assistant);
  if (!ids.length) return null;
  return html`<ul class="file-list" aria-label="Files of code interpreter">
    ${ids.map((id) => {
      const name = names[id]?.filename ?? id;
      return html`<li key=${id}><${Icon} name="file" />
        <button type="button" class="name plain-button" title=${`Download ${name}`} onClick=${() => attempt(() => download(id))}>${name}</button>
        <small>${sizeOf(names[id]?.bytes ?? 0)}</small>
        <${IconButton} name="delete" label=${`Remove ${name}`} onClick=${() => removeFromCode(id)} /></li>`;
    })}
  </ul>`;
}
