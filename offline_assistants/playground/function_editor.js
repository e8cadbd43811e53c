// The editor of one function: its JSON, checked as you type.
import { putFunction } from "./assistants.js";
import { checkFunction } from "./json_check.js";
import { currentAssistant, now } from "./state.js";
import { html, useState } from "./vendor.js";

const EXAMPLE = {
  name: "get_weather",
  description: "The weather in a city, now.",
  parameters: { type: "object", properties: { city: { type: "string", description: "Its name" } }, required: ["city"], additionalProperties: false },
};

export function FunctionEditor({ definition, onClose }) {
  const [text, setText] = useState(JSON.stringify(definition ?? EXAMPLE, null, 2));
  const others = currentAssistant(now()).tools.filter((tool) => tool.type === "function" && tool.function.name !== definition?.name);
  const { value, problem } = checkFunction(text, others.map((tool) => tool.function.name)); // prettier-ignore
  const save = () => {
    if (problem) return;
    putFunction(value, definition?.name);
    onClose();
  };
  const pressed = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
  };
  return html`<h2>${definition ? `Function ${definition.name}` : "A new function"}</h2>
    <p class="hint">The model writes arguments that fit the parameters; you, or your program, give the output.</p>
    <label class="field">Definition as JSON
      <textarea class="mono" rows="16" spellcheck=${false} value=${text} onInput=${(event) => setText(event.target.value)} onKeyDown=${pressed}
        aria-invalid=${!!problem} aria-describedby="function-problem"></textarea></label>
    <p id="function-problem" class=${problem ? "error" : "hint"} role="status">${problem ?? "Valid."}</p>
    <div class="row"><span class="grow"></span>
      <button type="button" class="quiet" onClick=${onClose}>Cancel</button>
      <button type="button" class="primary" disabled=${!!problem} onClick=${save}>Save</button></div>`;
}
