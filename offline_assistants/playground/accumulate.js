// What the events of a run's stream make of messages, runs and steps. Pure: takes the old pieces of the state, returns the new ones.

/** @param {{messages: object[], runs: object, steps: object}} s */
export function apply(s, { event, data }) {
  if (event === "thread.message.delta") return { ...s, messages: replace(s.messages, data.id, (old) => withContent(old, data.delta.content)) };
  if (event === "thread.run.step.delta") return withStepDelta(s, data);
  if (event === "thread.message.deleted") return { ...s, messages: s.messages.filter((each) => each.id !== data.id) };
  if (event.startsWith("thread.message.")) return { ...s, messages: put(s.messages, data) };
  if (event.startsWith("thread.run.step.")) return { ...s, steps: { ...s.steps, [data.run_id]: put(s.steps[data.run_id] ?? [], data) } };
  if (event.startsWith("thread.run.")) return { ...s, runs: { ...s.runs, [data.id]: data } };
  return s;
}

/** The list with the object in it: in place of the one with its id, or at the end. */
export function put(list, object) {
  const index = list.findLastIndex((each) => each.id === object.id);
  return index < 0 ? [...list, object] : list.with(index, object);
}

function replace(list, id, change) {
  const index = list.findLastIndex((each) => each.id === id);
  return index < 0 ? list : list.with(index, change(list[index]));
}

function withContent(message, deltas) {
  const content = [...message.content];
  for (const { index, ...delta } of deltas) {
    const old = content[index];
    if (!old || delta.type !== "text") {
      content[index] = delta.type === "text" ? { type: "text", text: { value: delta.text.value ?? "", annotations: delta.text.annotations ?? [] } } : delta;
      continue;
    }
    const annotations = delta.text.annotations?.length ? [...old.text.annotations, ...delta.text.annotations] : old.text.annotations;
    content[index] = { type: "text", text: { value: old.text.value + (delta.text.value ?? ""), annotations } };
  }
  return { ...message, content };
}

function withStepDelta(s, { id, delta }) {
  const runId = Object.keys(s.steps).findLast((each) => s.steps[each].some((step) => step.id === id));
  if (!runId) return s;
  const steps = replace(s.steps[runId], id, (step) => {
    const calls = [...(step.step_details.tool_calls ?? [])];
    for (const { index, ...call } of delta.step_details?.tool_calls ?? []) calls[index] = calls[index] ? merged(calls[index], call) : started(call);
    return { ...step, step_details: { ...step.step_details, tool_calls: calls } };
  });
  return { ...s, steps: { ...s.steps, [runId]: steps } };
}

function started(call) {
  if (call.type !== "code_interpreter") return call;
  return merged({ ...call, code_interpreter: { input: "", outputs: [] } }, call);
}

function merged(old, call) {
  if (call.type === "function") {
    const { arguments: more = "", output } = call.function;
    return { ...old, function: { ...old.function, arguments: old.function.arguments + more, output: output ?? old.function.output } };
  }
  if (call.type !== "code_interpreter") return { ...old, ...call };
  const { input = "", outputs = [] } = call.code_interpreter;
  const shown = [...old.code_interpreter.outputs];
  for (const { index, ...output } of outputs) {
    const before = shown[index];
    shown[index] = before?.type === "logs" && output.type === "logs" ? { ...before, logs: before.logs + output.logs } : output;
  }
  return { ...old, code_interpreter: { ...old.code_interpreter, input: old.code_interpreter.input + input, outputs: shown } };
}
