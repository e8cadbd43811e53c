// A run that waits for functions: each call with its arguments, and a box for what it gives.
import { Icon } from "./icons.js";
import { stop, submit } from "./runs.js";
import { html, useState } from "./vendor.js";

export function ActionForm({ run }) {
  const calls = run.required_action?.submit_tool_outputs.tool_calls ?? [];
  const [outputs, setOutputs] = useState({});
  const send = () => submit(run.id, calls.map((call) => ({ tool_call_id: call.id, output: outputs[call.id] ?? "" }))); // prettier-ignore
  const pressed = (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    send();
  };
  return html`<section class="action" aria-label="The assistant calls functions" onKeyDown=${pressed}>
    <p class="action-title"><${Icon} name="code" />The assistant calls ${calls.length === 1 ? "a function" : `${calls.length} functions`}. What ${calls.length === 1 ? "does it" : "do they"} give?</p>
    ${calls.map(
      (call) => html`<div key=${call.id} class="call">
        <p><strong>${call.function.name}</strong></p>
        <pre tabindex="0" role="group" aria-label=${`Arguments of ${call.function.name}`}>${pretty(call.function.arguments)}</pre>
        <label>Output of ${call.function.name}
          <textarea rows="3" value=${outputs[call.id] ?? ""} onInput=${(event) => setOutputs({ ...outputs, [call.id]: event.target.value })}></textarea></label>
      </div>`,
    )}
    <div class="row">
      <span class="grow"></span>
      <button type="button" class="quiet" onClick=${stop}>Stop the run</button>
      <button type="button" class="primary" onClick=${send}>Submit</button>
    </div>
  </section>`;
}

/** JSON with line breaks; what is no JSON as it is. */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
