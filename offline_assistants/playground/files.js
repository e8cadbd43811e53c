// Files: uploads with progress, into the assistant's vector store or for its code, and for the next message.
import { change, flush, hasTool } from "./assistants.js";
import { content, get, listAll, post, remove, upload } from "./api.js";
import { currentAssistant, now, set } from "./state.js";

const POLL_MS = 400;
const PICTURES = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp" };
const TABLES = new Set(["csv", "tsv", "xlsx", "xls", "json", "parquet", "zip"]);
let uploadNumber = 0;
const making = new Map(); // assistant id -> the vector store that is being made for it: two files at once get one

const ending = (name) => name.split(".").pop().toLowerCase();
export const pictureType = (name) => PICTURES[ending(name)];
export const storeIdOf = (owner) => owner?.tool_resources?.file_search?.vector_store_ids?.[0] ?? null;
export const codeFilesOf = (owner) => owner?.tool_resources?.code_interpreter?.file_ids ?? [];

/** The file's name, looked up once. */
export async function nameOf(fileId) {
  const known = now().fileNames[fileId];
  if (known) return known;
  const file = await get(`/v1/files/${fileId}`, { isQuiet: true }).catch(() => ({ id: fileId, filename: fileId }));
  set((s) => ({ fileNames: { ...s.fileNames, [fileId]: file } }));
  return file;
}

export async function download(fileId) {
  const [file, blob] = await Promise.all([nameOf(fileId), content(fileId)]);
  save(blob, file.filename);
}

/** Lets the browser save a blob. */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// ── The assistant's files ────────────────────────────────────────────────────────────────────────────────────────────

export async function loadStoreFiles() {
  const assistant = currentAssistant(now());
  const storeId = storeIdOf(assistant);
  const files = storeId ? await listAll(`/v1/vector_stores/${storeId}/files?order=asc`, { limit: 1000 }) : [];
  await Promise.all([...files.map((each) => each.id), ...codeFilesOf(assistant)].slice(0, 200).map(nameOf));
  if (now().assistantId !== assistant.id) return;
  set({ storeFiles: files });
  for (const file of files) if (file.status === "in_progress") follow(storeId, file.id);
}

/** Uploads files for a tool of the assistant: `file_search` or `code_interpreter`. */
export async function addFiles(files, place) {
  await Promise.all([...files].map((file) => addFile(file, place)));
}

async function addFile(file, place) {
  const key = ++uploadNumber;
  const assistantId = now().assistantId;
  set((s) => ({ uploads: [...s.uploads, { key, assistantId, name: file.name, size: file.size, sent: 0, status: "sending", place }] }));
  const mark = (patch) => set((s) => ({ uploads: s.uploads.map((each) => (each.key === key ? { ...each, ...patch } : each)) }));
  try {
    const stored = await upload(file, "assistants", (sent) => mark({ sent }));
    set((s) => ({ fileNames: { ...s.fileNames, [stored.id]: stored } }));
    if (place === "file_search") await addToStore(assistantId, stored.id);
    else addToCode(assistantId, stored.id);
    set((s) => ({ uploads: s.uploads.filter((each) => each.key !== key) }));
  } catch (error) {
    mark({ status: "failed", error: error.message });
  }
}

export const forgetUpload = (key) => set((s) => ({ uploads: s.uploads.filter((each) => each.key !== key) }));

const assistantOf = (id) => now().assistants.find((each) => each.id === id);

function addToCode(assistantId, fileId) {
  const assistant = assistantOf(assistantId);
  change({ tool_resources: { ...assistant?.tool_resources, code_interpreter: { file_ids: [...codeFilesOf(assistant), fileId] } } }, assistantId);
}

async function addToStore(assistantId, fileId) {
  const storeId = await storeOfAssistant(assistantId);
  const added = await post(`/v1/vector_stores/${storeId}/files`, { file_id: fileId });
  if (storeIdOf(currentAssistant(now())) !== storeId) return;
  set((s) => ({ storeFiles: [...(s.storeFiles ?? []).filter((each) => each.id !== fileId), added] }));
  follow(storeId, fileId);
}

/** The vector store of the assistant, made when there is none. */
async function storeOfAssistant(assistantId) {
  const assistant = assistantOf(assistantId);
  if (storeIdOf(assistant)) return storeIdOf(assistant);
  if (!making.has(assistantId)) making.set(assistantId, post("/v1/vector_stores", { name: `Files of ${assistant?.name || "an assistant"}` }).finally(() => making.delete(assistantId))); // prettier-ignore
  const store = await making.get(assistantId);
  if (!storeIdOf(assistantOf(assistantId))) await useStore(store.id, assistantId);
  return store.id;
}

/** Which vector store an assistant searches; null: none. */
export async function useStore(storeId, assistantId = now().assistantId) {
  const resources = { ...assistantOf(assistantId)?.tool_resources, file_search: { vector_store_ids: storeId ? [storeId] : [] } };
  change({ tool_resources: resources }, assistantId);
  await flush();
}

async function follow(storeId, fileId) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (storeIdOf(currentAssistant(now())) !== storeId) return;
    let isGone = false;
    const file = await get(`/v1/vector_stores/${storeId}/files/${fileId}`, { isQuiet: true }).catch((error) => void (isGone = error.status === 404));
    if (isGone) return;
    if (!file) continue; // the server is busy, or away for a moment
    set((s) => ({ storeFiles: s.storeFiles?.map((each) => (each.id === fileId ? file : each)) ?? null }));
    if (file.status !== "in_progress") return;
  }
}

export async function removeFromStore(fileId) {
  await remove(`/v1/vector_stores/${storeIdOf(currentAssistant(now()))}/files/${fileId}`);
  set((s) => ({ storeFiles: s.storeFiles?.filter((each) => each.id !== fileId) ?? null }));
}

export function removeFromCode(fileId) {
  const assistant = currentAssistant(now());
  change({ tool_resources: { ...assistant.tool_resources, code_interpreter: { file_ids: codeFilesOf(assistant).filter((each) => each !== fileId) } } });
}

// ── Files of the next message ────────────────────────────────────────────────────────────────────────────────────────

export async function attach(files) {
  await Promise.all([...files].map(attachOne));
}

async function attachOne(file) {
  const key = ++uploadNumber;
  const use = useOf(file.name);
  set((s) => ({ attached: [...s.attached, { key, name: file.name, use, status: "sending", sent: 0 }] }));
  const mark = (patch) => set((s) => ({ attached: s.attached.map((each) => (each.key === key ? { ...each, ...patch } : each)) }));
  try {
    const stored = await upload(file, use === "picture" ? "vision" : "assistants", (sent) => mark({ sent }));
    set((s) => ({ fileNames: { ...s.fileNames, [stored.id]: stored } }));
    mark({ status: "ready", file_id: stored.id });
  } catch (error) {
    mark({ status: "failed", error: error.message });
  }
}

/** What a file is most likely meant for: to be seen, searched, or worked on by code. */
function useOf(name) {
  if (pictureType(name)) return "picture";
  const assistant = currentAssistant(now());
  const canRun = !!assistant && hasTool(assistant, "code_interpreter");
  const canSearch = !!assistant && hasTool(assistant, "file_search");
  return canRun && (TABLES.has(ending(name)) || !canSearch) ? "code_interpreter" : "file_search";
}

export const setUse = (key, use) => set((s) => ({ attached: s.attached.map((each) => (each.key === key ? { ...each, use } : each)) }));
export const detach = (key) => set((s) => ({ attached: s.attached.filter((each) => each.key !== key) }));
