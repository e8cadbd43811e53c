// Whether a text is the JSON that a function or a response format needs; the sentence says what is wrong and where. Pure.

const NAME = /^[a-zA-Z0-9_-]{1,64}$/;
const TYPES = new Set(["string", "number", "integer", "boolean", "object", "array", "null"]);

/** {value} or {problem}, with the line of a syntax error. */
export function parseJson(text) {
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    const reason = error.message.replace(/^JSON\.parse: /, "").replace(/,? ?"[^]*" is not valid JSON$/, "").replace(/ in JSON/, "").replace(/ at (position|line) [^]*$/, ""); // prettier-ignore
    return { problem: `Not JSON, line ${lineOf(text, error)}: ${reason}` };
  }
}

function lineOf(text, error) {
  const line = /line (\d+)/.exec(error.message);
  if (line) return Number(line[1]);
  const position = /position (\d+)/.exec(error.message);
  const at = position ? Number(position[1]) : text.length;
  return text.slice(0, at).split("\n").length;
}

/** A function's definition: name, description, parameters, strict. `taken`: names that other functions have. */
export function checkFunction(text, taken = []) {
  const { value, problem } = parseJson(text);
  if (problem) return { problem };
  const found =
    notAnObject(value, "A function") ??
    unknown(value, ["name", "description", "parameters", "strict"]) ??
    wrongName(value.name) ??
    (["code_interpreter", "file_search"].includes(value.name) ? `"${value.name}" is the name of a built-in tool` : null) ??
    (taken.includes(value.name) ? `There is a function called "${value.name}" already` : null) ??
    wrongType(value, "description", "string") ??
    wrongType(value, "strict", "boolean") ??
    (value.parameters === undefined ? null : (wrongSchema(value.parameters, "parameters") ?? notForArguments(value.parameters)));
  return found ? { problem: found } : { value };
}

/** What goes into `response_format.json_schema`: name, description, schema, strict. */
export function checkFormat(text) {
  const { value, problem } = parseJson(text);
  if (problem) return { problem };
  const found =
    notAnObject(value, "The format") ??
    unknown(value, ["name", "description", "schema", "strict"]) ??
    wrongName(value.name) ??
    wrongType(value, "description", "string") ??
    wrongType(value, "strict", "boolean") ??
    (value.schema === undefined ? '"schema" is missing' : wrongSchema(value.schema, "schema"));
  return found ? { problem: found } : { value };
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const notAnObject = (value, what) => (isObject(value) ? null : `${what} is an object: { … }`);

function unknown(value, known) {
  const key = Object.keys(value).find((each) => !known.includes(each));
  return key === undefined ? null : `"${key}" is not known here; known are ${known.join(", ")}`;
}

function wrongName(name) {
  if (name === undefined) return '"name" is missing';
  return typeof name === "string" && NAME.test(name) ? null : '"name" has 1 to 64 letters, digits, _ and -';
}

function wrongType(value, key, type) {
  return value[key] === undefined || value[key] === null || typeof value[key] === type ? null : `"${key}" is a ${type}`;
}

const notForArguments = (schema) => (schema.type === undefined || schema.type === "object" ? null : 'The "type" of parameters is "object"');

/** The parts of JSON Schema in which mistakes are common. */
function wrongSchema(schema, path) {
  if (typeof schema === "boolean") return null;
  if (!isObject(schema)) return `"${path}" is a schema: an object`;
  const types = [schema.type].flat().filter((each) => each !== undefined);
  const strange = types.find((each) => !TYPES.has(each));
  if (strange !== undefined) return `"${path}.type" is ${JSON.stringify(strange)}; known are ${[...TYPES].join(", ")}`;
  if (schema.enum !== undefined && !(Array.isArray(schema.enum) && schema.enum.length)) return `"${path}.enum" is a list of values`;
  const properties = schema.properties ?? {};
  if (!isObject(properties)) return `"${path}.properties" is an object`;
  if (schema.required !== undefined) {
    if (!Array.isArray(schema.required)) return `"${path}.required" is a list of names`;
    const missing = schema.properties && schema.required.find((name) => !(name in properties));
    if (missing) return `"${path}.required" names "${missing}", which is not among the properties`;
  }
  for (const [name, each] of Object.entries(properties)) {
    const found = wrongSchema(each, `${path}.properties.${name}`);
    if (found) return found;
  }
  return schema.items === undefined ? null : wrongSchema(schema.items, `${path}.items`);
}
