// Markdown of a model into nodes that can do no harm: no HTML of the model's, no address that is fetched, no script. Math stays text.
import { DOMPurify, hljs, html, MarkdownIt, useLayoutEffect, useRef } from "./vendor.js";

const MAX_HIGHLIGHTED = 20_000;
const MARK = /\uE000(\d+)\uE001/g; // where an annotation stands, by its number
const TAGS = ["p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td",
  "h1", "h2", "h3", "h4", "h5", "h6", "span", "div", "button"]; // prettier-ignore
/** `data-href` is a text that is shown, not an address that a browser follows. */
const ATTRIBUTES = ["class", "type", "start", "data-href", "data-note", "data-copy", "title", "aria-label", "tabindex", "role"];

const markdown = new MarkdownIt({ html: false, linkify: true, highlight });
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
const { escapeHtml } = markdown.utils;

function highlight(code, language) {
  if (!language || !hljs.getLanguage(language) || code.length > MAX_HIGHLIGHTED) return "";
  return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}

// Math is shown as it was written: Markdown would eat its underscores and backslashes.
const MATH = /^(?:\$\$[^]+?\$\$|\\\[[^]+?\\\]|\\\([^]+?\\\))/;
markdown.inline.ruler.before("escape", "math", (state, isSilent) => {
  const first = state.src.charCodeAt(state.pos);
  if (first !== 0x24 && first !== 0x5c) return false;
  const found = MATH.exec(state.src.slice(state.pos, state.posMax));
  if (!found) return false;
  if (!isSilent) state.push("math", "code", 0).content = found[0];
  state.pos += found[0].length;
  return true;
});

const rules = markdown.renderer.rules;
rules.math = (tokens, index) => `<code class="math">${escapeHtml(tokens[index].content)}</code>`;
rules.image = (tokens, index) => {
  const token = tokens[index];
  return `<span class="not-loaded" title="${escapeHtml(token.attrGet("src") ?? "")}">[image not loaded${token.content ? `: ${escapeHtml(token.content)}` : ""}]</span>`;
};
// A button and not a link: browsers look up the names of links before anybody clicks them.
rules.link_open = (tokens, index) => `<button type="button" class="link" data-href="${escapeHtml(tokens[index].attrGet("href") ?? "")}">`;
rules.link_close = () => "</button>";
rules.fence = (tokens, index) => {
  const token = tokens[index];
  const language = token.info.trim().split(/\s+/)[0];
  const code = highlight(token.content, language) || escapeHtml(token.content);
  const name = escapeHtml(language || "text");
  return `<div class="code"><div class="code-head"><span>${name}</span><button type="button" class="quiet small" data-copy="">Copy</button></div>` +
    `<pre tabindex="0" role="group" aria-label="Code: ${name}"><code class="hljs">${code}</code></pre></div>`; // prettier-ignore
};
rules.code_block = rules.fence;
for (const cell of ["th_open", "td_open"]) {
  rules[cell] = (tokens, index) => {
    const align = /text-align:(\w+)/.exec(tokens[index].attrGet("style") ?? "")?.[1];
    return `<${tokens[index].tag}${align ? ` class="${align}"` : ""}>`;
  };
}
rules.table_open = () => '<div class="table" tabindex="0" role="group" aria-label="Table"><table>';
rules.table_close = () => "</table></div>";

/** A fragment of safe nodes. `notes` say what stands at each annotation's place: {label, title, kind}. */
export function render(text, notes = []) {
  const rendered = markdown.render(text).replace(MARK, (_, number) => {
    const note = notes[number];
    return note ? `<button type="button" class="note ${note.kind}" data-note="${number}" title="${escapeHtml(note.title)}" aria-label="${escapeHtml(note.title)}">${escapeHtml(note.label)}</button>` : "";
  });
  return DOMPurify.sanitize(rendered, { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ATTRIBUTES, ADD_URI_SAFE_ATTR: ["data-href"], ALLOW_DATA_ATTR: false, RETURN_DOM_FRAGMENT: true });
}

const LINK = /\[[^\]\n]*\]\([^)\n]*\)/g;

/** The text with a mark in place of each annotation's own words. A file that a link of the text leads to needs none: the link leads there. */
export function marked(value, annotations) {
  if (!annotations.length) return value.replace(/[\uE000\uE001]/g, "");
  const clean = value.replace(/[\uE000\uE001]/g, "");
  const links = [...clean.matchAll(LINK)].map((found) => [found.index, found.index + found[0].length]);
  const order = annotations.map((_, number) => number).sort((one, other) => annotations[one].start_index - annotations[other].start_index);
  let text = "";
  let done = 0;
  let from = 0;
  for (const number of order) {
    const { type, text: words } = annotations[number];
    const at = clean.indexOf(words, from);
    if (at < 0 || !words) continue;
    from = at + words.length;
    if (type === "file_path" && links.some(([start, end]) => start <= at && at < end)) continue;
    text += `${clean.slice(done, at)}\uE000${number}\uE001`;
    done = from;
  }
  return text + clean.slice(done);
}

/**
 * How many characters at the beginning are blocks that later text cannot change: all but the last block.
 * So a stream costs what its last block costs, not what the whole of it costs.
 */
export function settled(text) {
  let line = 0;
  for (const token of markdown.parse(text, {})) if (token.level === 0 && token.map && token.nesting >= 0) line = token.map[0];
  let at = 0;
  for (let count = 0; count < line; count++) at = text.indexOf("\n", at) + 1;
  return at;
}

/** Draws Markdown that may still grow. */
export function Markdown({ text, notes }) {
  const box = useRef();
  const tail = useRef();
  const done = useRef({ text: "", notes: 0 });
  useLayoutEffect(() => {
    if (!text.startsWith(done.current.text) || !tail.current) {
      box.current.replaceChildren();
      tail.current = box.current.appendChild(Object.assign(document.createElement("div"), { className: "tail" }));
      done.current = { text: "" };
    }
    const rest = text.slice(done.current.text.length);
    const cut = settled(rest);
    if (cut) {
      tail.current.before(render(rest.slice(0, cut), notes));
      done.current = { text: text.slice(0, done.current.text.length + cut) };
    }
    tail.current.replaceChildren(render(rest.slice(cut), notes));
  }, [text, notes?.length]);
  return html`<div class="markdown" ref=${box}></div>`;
}
