/* Files of what the page shows: pictures as SVG or PNG, numbers as CSV. */

const STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "opacity", "font-family",
    "font-size", "font-weight", "text-anchor", "dominant-baseline", "paint-order"];
const SCALE = 2; /* points of a PNG for each of the page */

export function download(name, blob) {
    const address = URL.createObjectURL(blob), link = document.createElement("a");
    Object.assign(link, { href: address, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/** A picture as an SVG file, which has the colours that the page gives it; a canvas becomes an image in it. */
export function pictureSVG(picture) {
    return new Blob([new XMLSerializer().serializeToString(standalone(picture))], { type: "image/svg+xml" });
}

export async function picturePNG(picture) {
    if (picture instanceof HTMLCanvasElement) return toBlob(picture);
    const image = new Image(), address = URL.createObjectURL(pictureSVG(picture));
    image.src = address;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: SCALE * image.width, height: SCALE * image.height });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(address);
    return toBlob(canvas);
}

const toBlob = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

function standalone(picture) {
    const { width, height } = picture.getBoundingClientRect(), size = { width, height, xmlns: "http://www.w3.org/2000/svg" };
    const canvas = picture instanceof HTMLCanvasElement, made = canvas ? imageOf(picture, width, height) : picture.cloneNode(true);
    if (!canvas) styled(picture, made);
    for (const [name, value] of Object.entries(size)) made.setAttribute(name, value);
    const paper = made.insertBefore(document.createElementNS(size.xmlns, "rect"), made.firstChild);
    for (const [name, value] of Object.entries({ width: "100%", height: "100%", fill: getComputedStyle(document.body).backgroundColor }))
        paper.setAttribute(name, value);
    return made;
}

function imageOf(canvas, width, height) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "svg"), image = document.createElementNS(made.namespaceURI, "image");
    for (const [name, value] of Object.entries({ width, height, href: canvas.toDataURL() })) image.setAttribute(name, value);
    made.append(image);
    return made;
}

/** Give a copy the styles that its original has on the page. */
function styled(original, copy) {
    const style = getComputedStyle(original);
    for (const name of STYLES) copy.setAttribute(name, style.getPropertyValue(name));
    for (const name of ["class", "style"]) copy.removeAttribute(name);
    [...original.children].forEach((child, i) => styled(child, copy.children[i]));
}

/** As RFC 4180 has it; a text that a spreadsheet would take for a formula begins with an apostrophe. */
export function csv(rows) {
    const cell = (value) => (typeof value === "number" ? String(value) : `"${value.replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`);
    return new Blob([rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("")], { type: "text/csv" });
}
