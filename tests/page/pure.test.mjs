// The page's pure modules, without a browser: node --test tests/page/pure.test.mjs
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/** As a module whatever the version of Node makes of a .js file; none of these imports anything. */
const load = (name) => import(`data:text/javascript,${encodeURIComponent(readFileSync(new URL(`../../offline_assistants/playground/${name}`, import.meta.url), "utf8"))}`);

const { apply, put } = await load("accumulate.js");
const { parseFrame, readEvents } = await load("sse.js");
const { checkFormat, checkFunction, parseJson } = await load("json_check.js");
const { asCurl, asPython, python } = await load("view_code.js");
const { exportAs } = await load("export.js");

const EMPTY = { messages: [], runs: {}, steps: {} };
const text = (value, annotations = []) => ({ type: "text", text: { value, annotations } });
const told = (events, from = EMPTY) => events.reduce(apply, from);
const delta = (id, value) => ({ event: "thread.message.delta", data: { id, delta: { content: [{ index: 0, type: "text", text: { value } }] } } });

test("deltas make a message, and told again they make the same", () => {
  const events = [{ event: "thread.message.created", data: { id: "m", content: [] } }, delta("m", "Once "), delta("m", "upon")];
  const once = told(events);
  assert.deepEqual(once.messages, [{ id: "m", content: [text("Once upon")] }]);
  assert.deepEqual(told(events, once), once);
});

test("a delta for a message that is not there changes nothing, and a deleted one goes", () => {
  assert.deepEqual(told([delta("gone", "x")]), EMPTY);
  assert.deepEqual(told([{ event: "thread.message.deleted", data: { id: "m" } }], { ...EMPTY, messages: [{ id: "m" }, { id: "n" }] }).messages, [{ id: "n" }]);
});

test("the old state is left as it was", () => {
  const before = Object.freeze([Object.freeze({ id: "m", content: Object.freeze([]) })]);
  assert.notEqual(told([delta("m", "x")], { ...EMPTY, messages: before }).messages, before);
  assert.deepEqual(put(before, { id: "n" }).map((each) => each.id), ["m", "n"]);
});

test("pieces of a function's arguments and of code's output are put together", () => {
  const step = { event: "thread.run.step.created", data: { id: "s", run_id: "r", step_details: { type: "tool_calls" } } };
  const piece = (call) => ({ event: "thread.run.step.delta", data: { id: "s", delta: { step_details: { tool_calls: [call] } } } });
  const calls = (...pieces) => told([step, ...pieces.map(piece)]).steps.r[0].step_details.tool_calls;

  const f = calls({ index: 0, type: "function", function: { name: "f", arguments: '{"a"' } }, { index: 0, type: "function", function: { arguments: ":1}" } });
  assert.equal(f[0].function.arguments, '{"a":1}');
  const logs = (words) => ({ index: 0, type: "code_interpreter", code_interpreter: { outputs: [{ index: 0, type: "logs", logs: words }] } });
  const code = calls({ index: 0, type: "code_interpreter", code_interpreter: { input: "print(1)" } }, logs("1"), logs("2"));
  assert.deepEqual(code[0].code_interpreter, { input: "print(1)", outputs: [{ type: "logs", logs: "12" }] });
});

test("events are read whatever pieces they come in", async () => {
  const bytes = new TextEncoder().encode(': alive\n\nevent: a\ndata: {"word": "süß"}\n\nevent: b\r\ndata: two\r\ndata: lines\r\n\r\ndata: [DONE]\n\n');
  for (const size of [1, 7, bytes.length]) {
    const body = new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size));
        controller.close();
      },
    });
    const events = [];
    for await (const event of readEvents(body)) events.push(event);
    assert.deepEqual(events, [{ event: "a", data: { word: "süß" } }, { event: "b", data: "two\nlines" }, { event: "done", data: null }]);
  }
  assert.equal(parseFrame(": alive"), null);
});

test("what is wrong with a function is said", () => {
  assert.match(parseJson('{\n"a": }').problem, /^Not JSON, line 2: /);
  assert.deepEqual(checkFunction('{"name": "f"}'), { value: { name: "f" } });
  for (const [definition, words] of [
    ["[]", /is an object/],
    ['{"name": "f", "more": 1}', /"more" is not known/],
    ['{"name": "a b"}', /letters, digits/],
    ['{"name": "file_search"}', /built-in/],
    ['{"name": "taken"}', /already/],
    ['{"name": "f", "parameters": {"type": "array"}}', /"object"/],
    ['{"name": "f", "parameters": {"properties": {"a": {}}, "required": ["b"]}}', /names "b"/],
    ['{"name": "f", "parameters": {"properties": {"a": {"items": {"type": "text"}}}}}', /a\.items\.type" is "text"/],
  ])
    assert.match(checkFunction(definition, ["taken"]).problem, words);
  assert.match(checkFormat('{"name": "f"}').problem, /"schema" is missing/);
});

test("a thread is written as a program", () => {
  const message = { role: "user", content: [text("It's 'so'\n\"\\")], attachments: [] };
  const assistant = { id: "asst_1", model: "small", name: null, tools: [], temperature: 1, top_p: 0.5 };
  const thread = { assistant, messages: [message], toolChoice: { type: "file_search" }, origin: "http://here", needsKey: true };
  const program = asPython(thread);
  assert.ok(program.includes('"It\'s \'so\'\\n\\"\\\\"') && program.includes('tool_choice={"type": "file_search"}') && program.includes("top_p=0.5"));
  assert.ok(!program.includes("temperature"));
  assert.ok(asCurl(thread).includes("It'\\''s '\\''so'\\''") && asCurl(thread).includes("Bearer $OPENAI_API_KEY"));
  assert.equal(python({ a: [true, null, 1.5] }), '{"a": [True, None, 1.5]}');
});

test("a thread is exported with its citations in the order of the text", () => {
  const cite = (words, start, file) => ({ type: "file_citation", text: words, start_index: start, file_citation: { file_id: file, file_name: file, quote: `of\n${file}`, page: 2 } });
  const messages = [{ role: "assistant", content: [text("One[a] two[b].", [cite("[b]", 10, "b.md"), cite("[a]", 3, "a.md")])], attachments: [{ file_id: "f" }] }];
  const { text: markdown } = exportAs("md", { id: "t", created_at: 0, metadata: { title: "A\ntitle" } }, messages, { f: "f.csv" });
  assert.ok(markdown.startsWith("# A title\n"));
  assert.ok(markdown.includes('One[1] two[2].') && markdown.includes('[1] a.md, page 2: "of a.md"  \n[2] b.md') && markdown.includes("Attached: f.csv"));
  assert.deepEqual(JSON.parse(exportAs("json", { id: "t" }, messages, {}).text), { thread: { id: "t" }, messages });
});
