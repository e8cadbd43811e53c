// The Node SDK as a client: one job in JSON a line on stdin, its outcome in JSON a line on stdout. See ../programs.py for both.

import OpenAI from "openai";
import readline from "node:readline";

function watch(stream, client, job, log) {
  let isCancelled = false;
  stream.on("event", (event) => log.events.push(event.event));
  stream.on("textDelta", (delta, snapshot) => {
    log.snapshots += 1;
    if (job.cancel_at && !isCancelled && snapshot.value.includes(job.cancel_at)) {
      isCancelled = true;
      client.beta.threads.runs.cancel(stream.currentRun().id, { thread_id: job.thread_id });
    }
  });
  stream.on("textDone", (text) => log.texts.push(text.value));
  stream.on("runStepDone", (step) => log.done_steps.push(step));
  return stream;
}

async function follow(client, job, log) {
  let stream = watch(client.beta.threads.runs.stream(job.thread_id, { assistant_id: job.assistant_id, ...job.options }), client, job, log);
  let run = await stream.finalRun();
  const steps = new Map((await stream.finalRunSteps()).map((step) => [step.id, step]));
  let messages = await stream.finalMessages();
  while (run.status === "requires_action" && job.output !== undefined) {
    const tool_outputs = run.required_action.submit_tool_outputs.tool_calls.map((call) => ({ tool_call_id: call.id, output: job.output }));
    stream = watch(client.beta.threads.runs.submitToolOutputsStream(run.id, { thread_id: job.thread_id, tool_outputs }), client, job, log);
    run = await stream.finalRun();
    for (const step of await stream.finalRunSteps()) steps.set(step.id, step);
    messages = [...messages, ...(await stream.finalMessages())];
  }
  return { run, steps: [...steps.values()], messages };
}

async function carryOut(job) {
  const log = { events: [], texts: [], done_steps: [], snapshots: 0 };
  const client = new OpenAI({ baseURL: job.url, apiKey: "none", maxRetries: 0, timeout: 15000 });
  try {
    const outcome = await follow(client, job, log);
    return { ...outcome, ...log };
  } catch (error) {
    return { ...log, error: error.message, error_class: error.constructor.name };
  }
}

console.log(JSON.stringify({ version: OpenAI.VERSION ?? "node" }));
for await (const line of readline.createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await carryOut(JSON.parse(line))));
}
