// A citation in its source: the text of the file as it was indexed, with the quoted words in sight.
import { get } from "./api.js";
import { download, storeIdOf } from "./files.js";
import { Icon } from "./icons.js";
import { attempt, currentAssistant, currentThread, now } from "./state.js";
import { html, useEffect, useRef, useState } from "./vendor.js";

const AROUND = 20_000; // characters shown on either side of the quote

export function SourceView({ citation, runId }) {
  const [found, setFound] = useState(null);
  const mark = useRef();
  useEffect(() => {
    find(citation, runId).then(setFound, (error) => setFound({ problem: error.message }));
  }, []);
  useEffect(() => {
    const show = () => mark.current?.scrollIntoView({ block: "center" });
    show();
    addEventListener("resize", show); // a phone that is turned
    return () => removeEventListener("resize", show);
  }, [found]);
  return html`<h2>${citation.file_name ?? "Source"}</h2>
    <p class="hint">${citation.page ? `Page ${citation.page}` : "The text as it was indexed"}</p>
    <div class="source" tabindex="0" role="region" aria-label="Text of the source">
      ${!found && html`<p class="hint">Looking for the passage…</p>`}
      ${found?.problem && html`<p class="hint">${found.problem}</p><blockquote>${citation.quote}</blockquote>`}
      ${found?.quote != null && html`${found.isCut && html`<p class="hint">…</p>`}${found.before}<mark ref=${mark}>${found.quote}</mark>${found.after}`}
    </div>
    <div class="row"><button type="button" class="quiet" onClick=${() => attempt(() => download(citation.file_id))}><${Icon} name="download" />Download the file</button></div>`;
}

async function find({ file_id, quote, quote_start }, runId) {
  const text = await textOf(file_id, runId);
  const start = quote_start == null ? text.indexOf(quote) : fromCharacters(text, quote_start);
  const at = text.startsWith(quote, start) ? start : text.indexOf(quote);
  if (at < 0) throw new Error("The file has changed: these words are not in it any more.");
  const from = Math.max(0, at - AROUND);
  const end = at + quote.length;
  return { before: text.slice(from, at), quote, after: text.slice(end, end + AROUND), isCut: from > 0 };
}

/** The API counts characters; a string here counts some of them twice. */
export function fromCharacters(text, count) {
  let at = 0;
  for (let passed = 0; passed < count && at < text.length; passed++) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

/** The indexed text, out of whichever vector store has the file. */
async function textOf(fileId, runId) {
  const s = now();
  const stores = [currentThread(s), s.runs[runId], ...s.assistants.filter((each) => each.id === s.runs[runId]?.assistant_id), currentAssistant(s)].map(storeIdOf);
  for (const storeId of new Set(stores.filter(Boolean))) {
    const page = await get(`/v1/vector_stores/${storeId}/files/${fileId}/content`).catch(() => null);
    if (page) return page.data.map((each) => each.text).join("");
  }
  throw new Error("The file is in no vector store of this thread or assistant any more. The quote was:");
}
