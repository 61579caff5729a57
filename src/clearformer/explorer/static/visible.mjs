/* Tokens as text that can be seen: white space as symbols, what has no shape as its code point. */

import { element } from "./dom.mjs";

const SYMBOLS = { " ": "␣", "\n": "⏎", "\t": "⇥" };
const SHAPELESS = /[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u; /* directions of writing and zero width, too */

const codePoint = (char) => `⟨${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;

export function visible(text) {
    return [...text].map((char) => SYMBOLS[char] ?? (SHAPELESS.test(char) ? codePoint(char) : char)).join("");
}

/** A name, or a text of many words: white space as it is. */
export function printable(text) {
    return [...text].map((char) => (char in SYMBOLS || !SHAPELESS.test(char) ? char : codePoint(char))).join("");
}

/** Cut to what fits into a picture. */
export function cut(text, most = 14) {
    const letters = [...text];
    return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : text;
}

export const shortened = (text, most) => cut(visible(text), most);

/** A token in an element whose direction of writing affects nothing around it. */
export const token = (text) => element("bdi", { class: "token-text" }, visible(text));

export const percent = (p) => (p === 0 || p >= 0.001 ? `${(100 * p).toFixed(1)} %` : "< 0.1 %");

/** "1 token", "2 tokens". */
export const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
