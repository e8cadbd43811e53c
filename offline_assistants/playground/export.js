// A thread as a file: Markdown to read, JSON with every field. Pure.

export function exportAs(kind, thread, messages, names) {
  if (kind === "json") return { type: "application/json", text: JSON.stringify({ thread, messages }, null, 2) };
  return { type: "text/markdown", text: asMarkdown(thread, messages, names) };
}

function asMarkdown(thread, messages, names) {
  const title = (thread.metadata?.title || "Untitled thread").replace(/\s+/g, " ");
  const blocks = [`# ${title}`, `Thread \`${thread.id}\`, ${new Date(thread.created_at * 1000).toISOString()}`];
  for (const message of messages) {
    blocks.push(`## ${message.role === "user" ? "User" : "Assistant"}`);
    const notes = [];
    for (const part of message.content) blocks.push(partAsMarkdown(part, names, notes));
    for (const { file_id } of message.attachments ?? []) blocks.push(`Attached: ${names[file_id] ?? file_id}`);
    if (notes.length) blocks.push(notes.join("\n"));
  }
  return `${blocks.join("\n\n")}\n`;
}

function partAsMarkdown(part, names, notes) {
  if (part.type === "image_file") return `[Picture: ${names[part.image_file.file_id] ?? part.image_file.file_id}]`;
  if (part.type === "image_url") return `[Picture: ${part.image_url.url.slice(0, 200)}]`;
  let text = "";
  let from = 0;
  for (const annotation of part.text.annotations.toSorted((a, b) => (a.start_index ?? 0) - (b.start_index ?? 0))) {
    const at = part.text.value.indexOf(annotation.text, from);
    if (at < 0 || annotation.type !== "file_citation") continue;
    const { file_name, file_id, quote, page } = annotation.file_citation;
    notes.push(`[${notes.length + 1}] ${file_name ?? file_id}${page ? `, page ${page}` : ""}: "${quote.replace(/\s+/g, " ").trim()}"  `);
    text += `${part.text.value.slice(from, at)}[${notes.length}]`;
    from = at + annotation.text.length;
  }
  return text + part.text.value.slice(from);
}
