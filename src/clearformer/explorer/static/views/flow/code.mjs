/* Functions of the package's source, which the page holds as text: explorer/sources.py. */

import { element } from "../../dom.mjs";
import { elementText } from "../../run.mjs";

const FILES = JSON.parse(elementText("sources"));
const LAST_OF_HEAD = /^\s*(def |\)).*:(\s+#.*)?$/; /* of a function */

/** { line, text } of a function, or of a method "Class.name" without the indent of its class. */
function snippet(file, name) {
    const lines = FILES[file].split("\n"), [method, owner] = name.split(".").reverse(), indent = owner ? "    " : "";
    const first = owner ? lines.findIndex((line) => line.startsWith(`class ${owner}(`)) : 0;
    const start = lines.findIndex((line, i) => i >= first && line.startsWith(`${indent}def ${method}(`));
    const body = lines.findIndex((line, i) => i >= start && LAST_OF_HEAD.test(line)) + 1;
    const more = lines.slice(body).findIndex((line) => line && !line.startsWith(`${indent}    `));
    const text = lines.slice(start, more < 0 ? undefined : body + more).join("\n").trimEnd();
    return { line: start + 1, text: text.split("\n").map((line) => line.slice(indent.length)) };
}

/** [file, name, part] as an element, in which the line with the part is marked. */
export function code([file, name, part]) {
    const { line, text } = snippet(file, name), at = text.findLastIndex((each) => each.includes(part));
    const shown = text.map((each, i) => (i === at ? element("mark", {}, each) : `${each}\n`)); /* a mark is a block */
    return element("details", { class: "code", open: true },
        element("summary", {}, element("b", {}, name), ` clearformer/${file}, line ${line + at}`),
        element("pre", { tabindex: "0", "aria-label": `${name} in ${file}` }, element("code", {}, shown)));
}
