// Icons as inline SVG, drawn with lines in the colour of the text; no font has to know them.
import { html } from "./vendor.js";

const PATHS = {
  add: "M12 5v14M5 12h14",
  attach: "M20 11.5 12.2 19.3a5 5 0 0 1-7.1-7.1l8-8a3.4 3.4 0 0 1 4.8 4.8l-8 8a1.7 1.7 0 0 1-2.4-2.4l7.2-7.2",
  back: "M15 6l-6 6 6 6",
  chat: "M5 5h14a1.5 1.5 0 0 1 1.5 1.5v9A1.5 1.5 0 0 1 19 17h-8l-4.5 3.5V17H5a1.5 1.5 0 0 1-1.5-1.5v-9A1.5 1.5 0 0 1 5 5z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clone: "M9 9h10.5v10.5H9zM15 9V4.5H4.5V15H9",
  close: "M6 6l12 12M18 6L6 18",
  code: "M9 7l-5 5 5 5M15 7l5 5-5 5",
  delete: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.2 10.5v5.5M13.8 10.5v5.5",
  down: "M6 9.5l6 6 6-6",
  download: "M12 4.5v11M7.5 11l4.5 4.5 4.5-4.5M5 19.5h14",
  edit: "M4.5 19.5l1-4.2L16 4.8l3.2 3.2L8.7 18.5z",
  file: "M7 3.5h6.5L18 8v12.5H7zM13.5 3.5V8H18",
  help: "M9.2 9.2a2.9 2.9 0 1 1 4.3 2.5c-1 .6-1.5 1.1-1.5 2.3M12 17.3v.2",
  list: "M8.5 6.5h11M8.5 12h11M8.5 17.5h11M4.5 6.5h.1M4.5 12h.1M4.5 17.5h.1",
  moon: "M19.5 14.2A7.8 7.8 0 0 1 9.8 4.5a7.8 7.8 0 1 0 9.7 9.7z",
  network: "M4 8.5a12 12 0 0 1 16 0M7 12a7.5 7.5 0 0 1 10 0M10 15.5a3 3 0 0 1 4 0M12 18.8v.1M4 3.5l16 17",
  play: "M8 5.5l10.5 6.5L8 18.5z",
  redo: "M16 5.5L20 9.5l-4 4M20 9.5h-9a5.5 5.5 0 0 0 0 11h3",
  retry: "M19 12a7 7 0 1 1-2.1-5M19.5 3.5V8H15",
  run: "M4 12h4l2.5-6.5 3.5 13L16.5 12H20",
  search: "M10.5 4.5a6 6 0 1 1 0 12 6 6 0 0 1 0-12zM15 15l5 5",
  settings: "M4.5 7h8M16.5 7h3M4.5 12h3M11.5 12h8M4.5 17h8M16.5 17h3M14.5 5v4M9.5 10v4M14.5 15v4",
  stop: "M7 7h10v10H7z",
  sun: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1.1 1.1M17.3 17.3l1.1 1.1M18.4 5.6l-1.1 1.1M6.7 17.3l-1.1 1.1",
  system: "M4 5.5h16v11H4zM9 20h6M12 16.5V20",
  undo: "M8 5.5L4 9.5l4 4M4 9.5h9a5.5 5.5 0 0 1 0 11h-3",
  warn: "M12 4.5l8.5 15h-17zM12 10v4.5M12 17v.1",
};

/** Beside words an icon says nothing more: it is hidden from who listens. */
export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;

/** A button that is only an icon has its words in `label`. */
export const IconButton = ({ name, label, ...rest }) =>
  html`<button type="button" class="icon-button" aria-label=${label} title=${label} ...${rest}><${Icon} name=${name} /></button>`;
