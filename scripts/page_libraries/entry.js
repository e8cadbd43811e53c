// What the page's modules import from vendor.js.
import htm from "htm";
import { h } from "preact";

export { Component, h, render } from "preact";
export { useCallback, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
export { default as MarkdownIt } from "markdown-it";
export { default as hljs } from "highlight.js/lib/common";
export { default as DOMPurify } from "dompurify";
export const html = htm.bind(h);
