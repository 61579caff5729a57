/* What opens a run's folder: a button, and a drop anywhere on the page. */

import { element } from "./dom.mjs";
import { filesOfDrop, readFolder } from "./folder.mjs";
import { printable } from "./visible.mjs";

/** `opened` is called with the run. */
export function opener(opened) {
    const { element: made, read } = button(opened, "Or drop it here. Nothing leaves this page.");
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
        event.preventDefault();
        read(filesOfDrop(event.dataTransfer));
    });
    return made;
}

/** The button alone. */
export const folderButton = (opened) => button(opened, "Nothing leaves this page.").element;

function button(opened, note) {
    const failed = element("p", { class: "error", role: "alert" });
    const read = async (files) => {
        failed.textContent = "";
        try {
            await opened(await readFolder(await files));
        } catch (error) {
            failed.textContent = printable(error.message);
        }
    };
    const field = element("input", {
        type: "file", webkitdirectory: true, multiple: true, class: "hidden", "aria-label": "The run’s folder",
        change: () => read([...field.files].map((file) => ({ path: file.webkitRelativePath, file }))),
    });
    const choose = element("button", { type: "button", click: () => field.click() }, "Open a run’s folder …");
    const about = element("p", { class: "muted" }, note);
    return { read, element: element("div", { class: "opener" }, choose, field, about, failed) };
}
