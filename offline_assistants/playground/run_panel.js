// The right column: a run while it happens (steps, usage), and the calls of the API.
import { pretty } from "./action_form.js";
import { Icon, IconButton } from "./icons.js";
import { LogView } from "./log_view.js";
import { FileChip, Picture } from "./message.js";
import { isActive } from "./runs.js";
import { notify, set, use } from "./state.js";
import { html } from "./vendor.js";

export function RunPanel() {
  const run = use((s) => s.runs[s.runId] ?? null);
  const steps = use((s) => s.steps[s.runId] ?? null);
  const copy = () => navigator.clipboard.writeText(JSON.stringify({ run, steps }, null, 2)).then(() => notify("The run is copied as JSON."), () => {}); // prettier-ignore
  return html`<section class="panel" data-column="run" aria-label="Run">
    <div class="bar"><h2>Run</h2>${run && html`<span class=${`state ${run.status}`}>${run.status.replace("_", " ")}</span><${IconButton} name="clone" label="Copy the run as JSON" onClick=${copy} />`}</div>
    <div class="panel-body">
      ${run
        ? html`<${Figures} run=${run} steps=${steps ?? []} />
            <section class="group"><h3>Steps</h3>${steps?.length ? html`<ol class="steps">${steps.map((step) => html`<${Step} key=${step.id} step=${step} />`)}</ol>` : html`<p class="hint">${isActive(run) ? "No step yet." : "This run has no steps."}</p>`}</section>`
        : html`<p class="hint">What a run does is shown here while it does it.</p>`}
      <${LogView} />
    </div>
  </section>`;
}

// ── Figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function Figures({ run, steps }) {
  const timing = use((s) => s.timings[run.id]);
  const context = use((s) => s.models.find((each) => each.id === run.model || each.x_model_file === run.x_model_file)?.context_tokens);
  const usage = run.usage;
  const lastUsage = steps.findLast((step) => step.usage)?.usage ?? usage;
  const inContext = lastUsage ? lastUsage.prompt_tokens + lastUsage.completion_tokens : 0;
  const seconds = (timing?.writing ?? 0) / 1000; // of messages: what calls tools is not counted on either side
  const written = steps.filter((step) => step.type === "message_creation").reduce((sum, step) => sum + (step.usage?.completion_tokens ?? 0), 0);
  const rate = written && seconds > 0.05 ? written / seconds : null;
  const cached = usage?.prompt_token_details?.cached_tokens ?? 0;
  return html`<dl class="figures">
      <div><dt>Model</dt><dd title=${run.x_model_file ?? run.model}>${run.model}</dd></div>
      ${!!usage?.total_tokens && html`<div><dt>Prompt</dt><dd>${number(usage.prompt_tokens)} tokens${cached ? html`<small>${number(cached)} cached</small>` : null}</dd></div>
        <div><dt>Answer</dt><dd>${number(usage.completion_tokens)} tokens${rate ? html`<small>${rate.toFixed(1)} per second</small>` : null}</dd></div>`}
      ${timing?.first && html`<div><dt>First token</dt><dd>after ${((timing.first - timing.began) / 1000).toFixed(2)} s</dd></div>`}
      ${run.last_error && html`<div class="wide"><dt>Error</dt><dd class="error">${run.last_error.message}</dd></div>`}
    </dl>
    ${!!context && !!inContext && html`<div class="context"><label for="context">Context</label><meter id="context" min="0" max=${context} high=${context * 0.85} value=${inContext}></meter><small>${number(inContext)} of ${number(context)}</small></div>`}`;
}

const number = (value) => value.toLocaleString("en");

// ── Steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function Step({ step }) {
  if (step.type === "message_creation") {
    const usage = step.usage?.completion_tokens;
    return html`<li class="step ${step.status}"><p class="step-title"><${Icon} name="chat" />Message<small>${usage ? `${number(usage)} tokens` : step.status === "in_progress" ? "writing" : (LIVE[step.status] ?? "")}</small></p></li>`;
  }
  const calls = step.step_details.tool_calls ?? [];
  return calls.length
    ? calls.map((call, index) => html`<li key=${call.id ?? index} class="step ${step.status}"><${Call} call=${call} step=${step} /></li>`)
    : html`<li class="step ${step.status}"><p class="step-title"><${Icon} name="run" />Tools<small>${LIVE[step.status] ?? ""}</small></p></li>`;
}

const LIVE = { in_progress: "running", failed: "failed", cancelled: "stopped", expired: "expired" };

function Call({ call, step }) {
  if (call.type === "code_interpreter") return html`<${CodeCall} details=${call.code_interpreter} state=${LIVE[step.status]} />`;
  if (call.type === "file_search") return html`<${SearchCall} details=${call.file_search} state=${LIVE[step.status]} runId=${step.run_id} />`;
  const { name, arguments: given, output } = call.function;
  return html`<p class="step-title"><${Icon} name="code" />${name}<small>${step.status === "in_progress" ? "waits for its output" : (LIVE[step.status] ?? "")}</small></p>
    <pre tabindex="0" role="group" aria-label=${`Arguments of ${name}`}>${pretty(given)}</pre>
    ${output != null && html`<pre class="output" tabindex="0" role="group" aria-label=${`Output of ${name}`}>${pretty(output)}</pre>`}`;
}

function CodeCall({ details, state }) {
  return html`<p class="step-title"><${Icon} name="play" />Code<small>${state ?? ""}</small></p>
    <pre tabindex="0" role="group" aria-label="Code">${details.input}</pre>
    ${details.outputs.map((output, index) =>
      output.type === "logs"
        ? html`<pre key=${index} class="output" tabindex="0" role="group" aria-label="What the code printed">${output.logs}</pre>`
        : html`<${Picture} key=${output.image.file_id} fileId=${output.image.file_id} />`,
    )}
    ${!!details.files?.length && html`<ul class="files" aria-label="Files that the code made">${details.files.map((file) => html`<li key=${file.file_id}><${FileChip} fileId=${file.file_id} /></li>`)}</ul>`}`;
}

/** The words of a passage that are nearest to what was asked. */
function snippet({ content, start_index, best_index }) {
  const characters = [...content.map((each) => each.text).join("")];
  const from = Math.max(0, Math.min((best_index ?? 0) - (start_index ?? 0), characters.length - 240));
  return `${from ? "…" : ""}${characters.slice(from, from + 240).join("")}`;
}

function SearchCall({ details, state, runId }) {
  const results = details.results ?? [];
  const show = (result) => set({ dialog: { kind: "source", runId, citation: { file_id: result.file_id, file_name: result.file_name, quote: result.content?.map((each) => each.text).join("") ?? "", quote_start: result.start_index, page: result.sections?.[0]?.page } } }); // prettier-ignore
  return html`<p class="step-title"><${Icon} name="search" />Search<small>${state ?? ""}</small></p>
    ${details.query && html`<p class="query">${details.query}</p>`}
    ${!results.length && !state && html`<p class="hint">Nothing was found.</p>`}
    <ul class="results">
      ${results.map(
        (result, index) => html`<li key=${index}><button type="button" class="plain-button" onClick=${() => show(result)}>
          <span class="result-name">${result.file_name}${result.sections?.[0]?.page ? `, page ${result.sections[0].page}` : ""}</span><small>${result.score.toFixed(2)}</small>
          ${result.content && html`<span class="passage">${snippet(result)}</span>`}
        </button></li>`,
      )}
    </ul>`;
}
