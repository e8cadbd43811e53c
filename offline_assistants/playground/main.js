// The playground: three columns over the public API. Read it in this order:
//
//   main.js              starts the page and lays out its columns
//   state.js             all that the page knows, in one object; api.js: the door to the server; sse.js: its event streams
//   assistants.js        } what can be done, by noun: these change the state and call the API;
//   files.js threads.js  } components below only draw the state and call these
//   runs.js              a run; live.js: what happens to a thread while something is sent to it; accumulate.js: what events make of messages and steps
//   assistant_panel.js   the left column; tools_panel.js, function_editor.js, json_check.js: its tools
//   conversation.js      the middle; thread_list.js, message.js, composer.js, action_form.js: its pieces; markdown.js: text of a model, made harmless
//   run_panel.js         the right column; log_view.js: calls of the API; view_code.js: the thread as a program
//   dialogs.js           what opens above the page; source_view.js: a citation in its source; keyboard.js: shortcuts
//   vendor.js            the libraries, built by scripts/vendor-page; style.css, content.css, icons.js: how it looks
import { AssistantPanel } from "./assistant_panel.js";
import { get } from "./api.js";
import { leave, loadAssistants } from "./assistants.js";
import { Conversation } from "./conversation.js";
import { Dialogs } from "./dialogs.js";
import { Icon, IconButton } from "./icons.js";
import { listen } from "./keyboard.js";
import { RunPanel } from "./run_panel.js";
import { attempt, now, set, use } from "./state.js";
import { ThreadList } from "./thread_list.js";
import { loadThreads } from "./threads.js";
import { html, render } from "./vendor.js";

const NETWORK_EVERY_MS = 15_000;
const THEMES = { system: "light", light: "dark", dark: "system" };
const COLUMNS = [
  ["settings", "assistant", "Assistant"],
  ["chat", "chat", "Chat"],
  ["run", "run", "Run"],
];

function Page() {
  const column = use((s) => s.column);
  return html`
    <a class="skip" href="#message">Skip to the message box</a>
    <${Header} />
    <${Offline} />
    <main class="columns" data-shown=${column}>
      <${AssistantPanel} />
      <nav class="threads-rail" aria-label="Threads"><${ThreadList} /></nav>
      <${Conversation} />
      <${RunPanel} />
    </main>
    <nav class="tabs" aria-label="Columns">
      ${COLUMNS.map(
        ([icon, name, label]) => html`<button type="button" aria-pressed=${column === name} onClick=${() => set({ column: name })}>
          <${Icon} name=${icon} />${label}
        </button>`,
      )}
    </nav>
    <${Notice} />
    <${Dialogs} />
  `;
}

function Header() {
  const theme = use((s) => s.theme);
  return html`<header class="top">
    <h1><img src="/playground/icon.svg" alt="" width="24" height="24" />offline-assistants <span>Playground</span></h1>
    <${NetworkBadge} />
    <${IconButton} name=${{ system: "system", light: "sun", dark: "moon" }[theme]} label=${`Colours: ${theme}. Change`} onClick=${() => showTheme(THEMES[theme])} />
    <${IconButton} name="help" label="Keyboard shortcuts" onClick=${() => set({ dialog: { kind: "shortcuts" } })} />
  </header>`;
}

function NetworkBadge() {
  const network = use((s) => s.network);
  const isWatched = network?.watched_since != null;
  const isQuiet = isWatched && network.num_attempts === 0;
  const words = !network || !isWatched ? "Network: not watched" : isQuiet ? "Network: off" : `Network: ${network.num_attempts} ${network.num_attempts === 1 ? "attempt" : "attempts"}`;
  return html`<button type="button" class=${`badge ${isQuiet ? "good" : isWatched ? "bad" : ""}`} onClick=${() => set({ dialog: { kind: "network" } })}>
    <${Icon} name="network" />${words}
  </button>`;
}

const Offline = () =>
  use((s) => s.isOffline) && html`<p class="banner" role="alert"><${Icon} name="warn" />The server does not answer. The page goes on when it is back.</p>`;

function Notice() {
  const notice = use((s) => s.notice);
  return html`<div class="notice-place" role="status" aria-live="polite">
    ${notice && html`<p class=${`notice ${notice.isError ? "error" : ""}`}>${notice.text}<${IconButton} name="close" label="Close" onClick=${() => set({ notice: null })} /></p>`}
  </div>`;
}

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  set({ theme });
}

async function lookAtNetwork() {
  const network = await get("/v1/network_attempts", { isQuiet: true }).catch(() => null);
  if (network) set({ network });
}

async function start() {
  document.documentElement.dataset.theme = now().theme;
  const place = document.getElementById("page");
  place.replaceChildren();
  render(html`<${Page} />`, place);
  listen();
  addEventListener("pagehide", leave);
  await attempt(() => Promise.all([loadAssistants(), loadThreads()]));
  set({ isReady: true });
  await lookAtNetwork();
  setInterval(lookAtNetwork, NETWORK_EVERY_MS);
}

start();
