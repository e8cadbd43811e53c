// The thread that is shown as a program: Python with the official SDK, and curl. Pure.

/** @param {{assistant: object, messages: object[], toolChoice: string | object, origin: string, needsKey: boolean}} thread */
export function asPython({ assistant, messages, toolChoice, origin, needsKey }) {
  const wanted = fields(assistant);
  const choice = toolChoice === "auto" ? "" : `, tool_choice=${python(toolChoice)}`;
  const lines = [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${python(`${origin}/v1`)}, api_key=${needsKey ? '"YOUR_KEY"' : '"not-needed"'})`,
    "",
    "assistant = client.beta.assistants.create(",
    ...Object.entries(wanted).map(([name, value]) => `    ${name}=${python(value, "    ")},`),
    ")",
    "thread = client.beta.threads.create(",
    `    messages=${python(messages.map(input), "    ")},`,
    ")",
    `with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id${choice}) as stream:`,
    "    for text in stream.text_deltas:",
    '        print(text, end="", flush=True)',
  ];
  return `${lines.join("\n")}\n`;
}

export function asCurl({ assistant, messages, toolChoice, origin, needsKey }) {
  const key = needsKey ? ' \\\n  -H "Authorization: Bearer $OPENAI_API_KEY"' : "";
  const post = (path, body) =>
    `curl -s ${origin}/v1${path}${key} \\\n  -H "Content-Type: application/json" -H "OpenAI-Beta: assistants=v2" \\\n  -d '${JSON.stringify(body, null, 2).replaceAll("'", "'\\''")}'`;
  const run = { assistant_id: assistant?.id ?? "ASSISTANT_ID", thread: { messages: messages.map(input) }, ...(toolChoice === "auto" ? {} : { tool_choice: toolChoice }), stream: true };
  return `# The assistant; its id goes into the second call\n${post("/assistants", fields(assistant))}\n\n# A thread with these messages, and a run whose events come as they happen\n${post("/threads/runs", run).replace("curl -s", "curl -sN")}\n`;
}

/** What differs from the API's defaults. */
function fields(assistant) {
  if (!assistant) return { model: "MODEL" };
  const { name, description, model, instructions, tools, tool_resources, temperature, top_p, response_format } = assistant;
  const wanted = { name, description, model, instructions, tools, tool_resources, temperature, top_p, response_format };
  const defaults = { temperature: 1, top_p: 1, response_format: "auto" };
  const isSaid = ([key, value]) => value != null && value !== "" && value !== defaults[key] && JSON.stringify(value) !== "[]" && JSON.stringify(value) !== "{}";
  return Object.fromEntries(Object.entries(wanted).filter(isSaid));
}

/** A message as it is sent: a text alone is a string. */
function input({ role, content, attachments }) {
  const texts = content.map((part) => (part.type === "text" ? { type: "text", text: part.text.value } : part));
  const only = texts.length === 1 && texts[0].type === "text" ? texts[0].text : texts;
  return { role, content: only, ...(attachments?.length ? { attachments } : {}) };
}

/** A value as Python writes it, broken into lines where it is long. */
export function python(value, indent = "") {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") return String(value);
  const deeper = `${indent}    `;
  const items = Array.isArray(value) ? value.map((each) => python(each, deeper)) : Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}: ${python(each, deeper)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const short = `${open}${items.join(", ")}${close}`;
  if (short.length + indent.length <= 100 && !short.includes("\n")) return short;
  return `${open}\n${items.map((each) => `${deeper}${each},`).join("\n")}\n${indent}${close}`;
}
