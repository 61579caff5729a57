/* Files of what the page shows: pictures as SVG or PNG, numbers as CSV. */

import { svg } from "./dom.mjs";

const STYLES = [
    "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "font-family", "font-size",
    "font-weight", "text-anchor", "dominant-baseline", "paint-order",
];
const SCALE = 2; /* points of a PNG for each of the page */
const KEPT = 10_000; /* milliseconds that a file is there to be saved */

export function download(name, blob) {
    const address = URL.createObjectURL(blob), link = document.createElement("a");
    Object.assign(link, { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), KEPT);
}

/** A picture as an SVG file, which has the colours that the page gives it; a canvas becomes an image in it. */
export function pictureSVG(picture) {
    const { width, height } = picture.getBoundingClientRect(), canvas = picture instanceof HTMLCanvasElement;
    const made = canvas
        ? svg("svg", {}, svg("image", { width, height, href: picture.toDataURL() }))
        : styled(picture, picture.cloneNode(true));
    const paper = getComputedStyle(document.body).backgroundColor;
    made.prepend(svg("rect", { width: "100%", height: "100%", fill: paper }));
    Object.entries({ width, height }).forEach(([name, value]) => made.setAttribute(name, value));
    return new Blob([new XMLSerializer().serializeToString(made)], { type: "image/svg+xml" });
}

/** Give a copy the styles that its original has on the page. */
function styled(original, copy) {
    const style = getComputedStyle(original);
    for (const name of STYLES) copy.setAttribute(name, style.getPropertyValue(name));
    for (const name of ["class", "style"]) copy.removeAttribute(name);
    [...original.children].forEach((child, i) => styled(child, copy.children[i]));
    return copy;
}

export async function picturePNG(picture) {
    if (picture instanceof HTMLCanvasElement) return toBlob(picture);
    const image = new Image(), address = URL.createObjectURL(pictureSVG(picture));
    image.src = address;
    await image.decode();
    const size = { width: SCALE * image.width, height: SCALE * image.height };
    const canvas = Object.assign(document.createElement("canvas"), size);
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(address);
    return toBlob(canvas);
}

const toBlob = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

/** As RFC 4180 has it; a text that a spreadsheet would take for a formula begins with an apostrophe. */
export function csv(rows) {
    const quoted = (text) => `"${text.replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
    const cell = (value) => (typeof value === "number" ? String(value) : quoted(value));
    return new Blob([rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("")], { type: "text/csv" });
}
