// The box in which the next message is written.
import { toolChoice, toolChoices } from "./assistants.js";
import { attach, detach, setUse } from "./files.js";
import { Icon, IconButton } from "./icons.js";
import { send } from "./live.js";
import { activeRun, asContent, isBusy as isBusyNow, run, stop } from "./runs.js";
import { attempt, currentAssistant, now, set, use } from "./state.js";
import { addMessage } from "./threads.js";
import { html, useLayoutEffect, useRef, useState } from "./vendor.js";

const USES = { file_search: "search", code_interpreter: "code", picture: "picture" };

export function Composer() {
  const [text, setText] = useState("");
  const attached = use((s) => s.attached);
  const active = use(activeRun);
  const hasMessages = use((s) => !!s.messages?.length);
  const box = useRef();
  useLayoutEffect(() => {
    box.current.style.height = "auto";
    box.current.style.height = `${Math.min(box.current.scrollHeight + 2, innerHeight * 0.4)}px`;
  }, [text]);

  const isBusy = use(isBusyNow);
  const isUploading = attached.some((each) => each.status === "sending");
  const hasContent = !!text.trim() || attached.some((each) => each.file_id && each.use === "picture");
  const submit = async (withRun) => {
    if (isBusyNow(now()) || isUploading || (!hasContent && !(withRun && hasMessages))) return;
    const files = attached.filter((each) => each.file_id);
    if (hasContent) {
      set({ attached: [] });
      setText("");
    }
    let isKept = !hasContent;
    await send(async (threadId) => {
      const { parts, attachments } = asContent(files);
      if (hasContent) await addMessage(threadId, text.trim(), parts, attachments);
      isKept = true;
      if (withRun) await run(threadId);
    });
    if (isKept) return;
    setText((newer) => [text, newer].filter(Boolean).join("\n\n")); // nothing that was written is lost
    set((s) => ({ attached: [...files, ...s.attached] }));
  };
  const pressed = (event) => {
    const isModified = event.ctrlKey || event.metaKey;
    if (event.key === "Enter" && isModified) {
      event.preventDefault();
      submit(!event.shiftKey);
    } else if (event.key === "ArrowUp" && !text) {
      const last = now().messages?.findLast((each) => each.role === "user");
      if (last && !isBusy) set({ editing: last.id });
    }
  };
  const pasted = (event) => {
    if (event.clipboardData.files.length) {
      event.preventDefault();
      attach(event.clipboardData.files);
    }
  };
  return html`<form class="composer" onSubmit=${(event) => event.preventDefault()}>
    ${!!attached.length && html`<ul class="attached" aria-label="Attached files">${attached.map((file) => html`<${Attached} key=${file.key} file=${file} />`)}</ul>`}
    <label class="hidden" for="message">Message</label>
    <textarea id="message" rows="1" placeholder="Message" value=${text} ref=${box} onInput=${(event) => setText(event.target.value)} onKeyDown=${pressed} onPaste=${pasted}></textarea>
    <div class="row">
      <label class="icon-button file-button" title="Attach files"><${Icon} name="attach" /><span class="hidden">Attach files</span>
        <input type="file" multiple onChange=${(event) => { attach(event.target.files); event.target.value = ""; }} /></label>
      <${ToolChoice} />
      <span class="hint grow keys">Ctrl+Enter to run</span>
      <button type="button" class="quiet" disabled=${isBusy || isUploading || !hasContent} onClick=${() => submit(false)}>Add<span class="wide-only"> only</span></button>
      ${isBusy
        ? html`<button type="button" class="primary stop" disabled=${!active || active.status === "cancelling"} onClick=${stop}><${Icon} name="stop" />Stop</button>`
        : html`<button type="button" class="primary" disabled=${isUploading || !(hasContent || hasMessages)} onClick=${() => submit(true)}><${Icon} name="play" />Run</button>`}
    </div>
  </form>`;
}

/** Which tool the run has to use: small models often do not see that one would help. */
function ToolChoice() {
  const assistant = use(currentAssistant);
  const chosen = JSON.stringify(use(toolChoice));
  if (!assistant?.tools.length) return null;
  return html`<label class="hidden" for="tool-choice">What the run has to use</label>
    <select id="tool-choice" class="tool-choice" value=${chosen} onChange=${(event) => set({ toolChoice: JSON.parse(event.target.value) })}>
      ${toolChoices(assistant).map(([choice, words]) => html`<option key=${words} value=${JSON.stringify(choice)}>${words}</option>`)}
    </select>`;
}

function Attached({ file }) {
  return html`<li class=${file.status}>
    <${Icon} name=${file.status === "failed" ? "warn" : "file"} />
    <span class="name" title=${file.error ?? file.name}>${file.name}</span>
    ${file.status === "sending" && html`<progress max="1" value=${file.sent} aria-label=${`Sending ${file.name}`}></progress>`}
    ${file.status === "failed" && html`<span class="error">${file.error}</span>`}
    ${file.status === "ready" &&
    html`<label class="hidden" for=${`use-${file.key}`}>What ${file.name} is for</label>
      <select id=${`use-${file.key}`} value=${file.use} onChange=${(event) => setUse(file.key, event.target.value)}>
        ${Object.entries(USES).map(([use, word]) => html`<option value=${use} disabled=${use === "picture" && file.use !== "picture"}>for ${word}</option>`)}
      </select>`}
    <${IconButton} name="close" label=${`Do not send ${file.name}`} onClick=${() => detach(file.key)} />
  </li>`;
}
