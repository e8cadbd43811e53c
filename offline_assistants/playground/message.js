// One message: text with citations, pictures, files, and what can be done with it.
import { content } from "./api.js";
import { download, nameOf, pictureType } from "./files.js";
import { Icon, IconButton } from "./icons.js";
import { Markdown, marked } from "./markdown.js";
import { forgetEdit, isBusy as isBusyNow, resend, retry } from "./runs.js";
import { attempt, notify, now, set, use } from "./state.js";
import { showRun } from "./threads.js";
import { Component, html, useEffect, useRef, useState } from "./vendor.js";

/** Drawn again only when it is another object: a thread may have thousands. */
export class Message extends Component {
  shouldComponentUpdate(next) {
    return next.message !== this.props.message;
  }

  render({ message }) {
    return html`<${Card} message=${message} />`;
  }
}

function Card({ message }) {
  const isEditing = use((s) => s.editing === message.id);
  const isUser = message.role === "user";
  return html`<article class=${`message ${message.role}`} id=${message.id} aria-label=${isUser ? "You" : "Assistant"}>
    <h3>${isUser ? "You" : "Assistant"}</h3>
    ${isEditing
      ? html`<${Editor} message=${message} />`
      : html`<div class="body" onClick=${(event) => clicked(event, message)}>
          ${message.content.map((part, index) => html`<${Part} key=${index} part=${part} isUser=${isUser} />`)}
          <${Files} message=${message} />
        </div>`}
    ${!isEditing && message.status !== "in_progress" && html`<${Actions} message=${message} />`}
  </article>`;
}

function Part({ part, isUser }) {
  if (part.type === "image_file") return html`<${Picture} fileId=${part.image_file.file_id} />`;
  if (part.type === "image_url") return html`<${AddressedPicture} url=${part.image_url.url} />`;
  const { value, annotations } = part.text;
  if (isUser) return html`<p class="plain">${value}</p>`;
  return html`<${Markdown} text=${marked(value, annotations)} notes=${notesOf(annotations)} />`;
}

/** What stands in the text for each annotation: the number of a citation, the name of a file. */
export function notesOf(annotations) {
  let number = 0;
  return annotations.map((each) => {
    if (each.type === "file_path") return { kind: "path", label: each.text.split("/").pop(), title: `Download ${each.text.split("/").pop()}` };
    const { file_name, page } = each.file_citation;
    return { kind: "cite", label: String(++number), title: `Source ${number}: ${file_name ?? "a file"}${page ? `, page ${page}` : ""}` };
  });
}

// ── Pictures and files ───────────────────────────────────────────────────────────────────────────────────────────────

/** A picture that is kept as a file; fetched with the key, so by hand. */
export function Picture({ fileId }) {
  const [shown, setShown] = useState(null);
  useEffect(() => {
    let address;
    const load = async () => {
      const file = await nameOf(fileId);
      address = URL.createObjectURL(await content(fileId, pictureType(file.filename) ?? "image/png"));
      setShown({ address, name: file.filename });
    };
    load().catch(() => setShown({ isMissing: true }));
    return () => URL.revokeObjectURL(address);
  }, [fileId]);
  if (shown?.isMissing) return html`<p class="not-loaded">[picture ${fileId} is not there any more]</p>`;
  if (!shown) return html`<p class="picture-place" role="img" aria-label="A picture is loading"></p>`;
  return html`<figure class="picture">
    <img src=${shown.address} alt=${shown.name} />
    <figcaption>${shown.name}<${IconButton} name="download" label=${`Download ${shown.name}`} onClick=${() => attempt(() => download(fileId))} /></figcaption>
  </figure>`;
}

/** A picture that is given by its address: only one that carries its bytes is shown, no other is fetched. */
function AddressedPicture({ url }) {
  const found = /^data:(image\/(?:png|jpeg|gif|webp));base64,(.*)$/s.exec(url);
  const [address, setAddress] = useState(null);
  useEffect(() => {
    if (!found) return undefined;
    let made;
    try {
      made = URL.createObjectURL(new Blob([Uint8Array.from(atob(found[2]), (each) => each.charCodeAt(0))], { type: found[1] }));
    } catch {
      return undefined;
    }
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [url]);
  return address ? html`<figure class="picture"><img src=${address} alt="A picture of this message" /></figure>` : html`<p class="not-loaded">[image not loaded: ${url.slice(0, 100)}]</p>`;
}

function Files({ message }) {
  const cited = message.content.flatMap((part) => part.text?.annotations ?? []).filter((each) => each.type === "file_path");
  const ids = [...new Set([...(message.attachments ?? []).map((each) => each.file_id), ...cited.map((each) => each.file_path.file_id)])];
  if (!ids.length) return null;
  return html`<ul class="files" aria-label="Files of this message">${ids.map((id) => html`<li key=${id}><${FileChip} fileId=${id} /></li>`)}</ul>`;
}

export function FileChip({ fileId }) {
  const file = use((s) => s.fileNames[fileId]);
  useEffect(() => {
    nameOf(fileId);
  }, [fileId]);
  const name = file?.filename ?? fileId;
  return html`<button type="button" class="chip" title=${`Download ${name}`} onClick=${() => attempt(() => download(fileId))}><${Icon} name="file" /><span>${name}</span></button>`;
}

// ── What can be done ─────────────────────────────────────────────────────────────────────────────────────────────────

function Actions({ message }) {
  const isBusy = use(isBusyNow);
  const text = textOf(message);
  const copy = () => navigator.clipboard.writeText(text).then(() => notify("Copied."), () => notify("The browser does not let the page copy.", { isError: true })); // prettier-ignore
  return html`<div class="actions">
    ${text && html`<${IconButton} name="clone" label="Copy the text" onClick=${copy} />`}
    ${message.role === "user" && html`<${IconButton} name="edit" label="Edit and send again" disabled=${isBusy} onClick=${() => set({ editing: message.id })} />`}
    ${message.role === "assistant" && html`<${IconButton} name="retry" label="Answer again" disabled=${isBusy} onClick=${() => retry(message)} />`}
    ${message.run_id && html`<${IconButton} name="run" label="Show the run" onClick=${() => attempt(() => showRun(message.run_id))} />`}
    ${message.status === "incomplete" && html`<span class="hint">not complete</span>`}
  </div>`;
}

const textOf = (message) => message.content.flatMap((part) => part.text?.value ?? []).join("\n\n");

function Editor({ message }) {
  const box = useRef();
  useEffect(() => {
    box.current.focus();
    box.current.setSelectionRange(box.current.value.length, box.current.value.length);
  }, []);
  const isBusy = use(isBusyNow);
  const isLast = now().messages.at(-1)?.id === message.id;
  const finish = () => {
    const text = box.current.value.trim();
    if (text && !isBusy) resend(message, text);
  };
  const pressed = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) finish();
    else if (event.key === "Escape") forgetEdit(message.id);
    else return;
    event.stopPropagation();
    event.preventDefault();
  };
  return html`<div class="editor" onKeyDown=${pressed}>
    <textarea aria-label="Edit the message" ref=${box} rows="4">${now().edits[message.id] ?? textOf(message)}</textarea>
    <div class="row">
      <span class="hint grow">${isLast ? "" : "What came after it is deleted."}</span>
      <button type="button" class="quiet" onClick=${() => forgetEdit(message.id)}>Cancel</button>
      <button type="button" class="primary" disabled=${isBusy} onClick=${finish}>Send again</button>
    </div>
  </div>`;
}

// ── Clicks inside of rendered text ───────────────────────────────────────────────────────────────────────────────────

function clicked(event, message) {
  const button = event.target.closest?.("button");
  if (!button) return;
  const annotations = message.content.flatMap((part) => part.text?.annotations ?? []);
  if ("copy" in button.dataset) copyCode(button);
  else if (button.dataset.note) openNote(annotationsOf(button, message)[button.dataset.note], message);
  else if (button.dataset.href) openAddress(button.dataset.href, annotations);
}

/** The annotations of the part that a button stands in. */
function annotationsOf(button, message) {
  const boxes = [...button.closest(".body").querySelectorAll(".markdown")];
  const texts = message.content.filter((part) => part.text);
  return texts[boxes.indexOf(button.closest(".markdown"))]?.text.annotations ?? [];
}

async function copyCode(button) {
  const code = button.closest(".code").querySelector("code").textContent;
  await navigator.clipboard.writeText(code).catch(() => null);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function openNote(annotation, message) {
  if (annotation?.type === "file_path") attempt(() => download(annotation.file_path.file_id));
  else if (annotation) set({ dialog: { kind: "source", citation: annotation.file_citation, runId: message.run_id } });
}

function openAddress(address, annotations) {
  const file = annotations.find((each) => each.type === "file_path" && decoded(each.text) === decoded(address));
  if (file) attempt(() => download(file.file_path.file_id));
  else set({ dialog: { kind: "address", address } });
}

/** An address as it is read; one with a % that means nothing stays as it is. */
function decoded(address) {
  try {
    return decodeURI(address);
  } catch {
    return address;
  }
}
