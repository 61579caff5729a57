/* Elements of the page. Data enters them as text or as attributes, never as markup. */

const SVG = "http://www.w3.org/2000/svg";
const BUTTON = "button, [role=button]";
export const central = { "dominant-baseline": "central" }; /* of a text: its middle is at y */

/** An HTML element. An attribute that is a function listens to the event of its name, `css` has properties such as
    "--share", true is an attribute without a value, and false, null and undefined are none. */
export function element(name, attributes = {}, ...children) {
    return furnish(document.createElement(name), attributes, children);
}

/** The same in SVG. */
export function svg(name, attributes = {}, ...children) {
    return furnish(document.createElementNS(SVG, name), attributes, children);
}

function furnish(made, { css = {}, ...attributes }, children) {
    for (const [name, value] of Object.entries(attributes))
        if (typeof value === "function") made.addEventListener(name, value);
        else if (value === true) made.setAttribute(name, "");
        else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
    for (const [name, value] of Object.entries(css)) made.style.setProperty(name, value);
    made.append(...children.flat().filter((child) => child !== false && child !== undefined));
    return made;
}

/** Put other children into an element; of its buttons and lists the one in the same place keeps the focus. */
export function replace(host, ...children) {
    const all = () => [...host.querySelectorAll("button, select")], focused = all().indexOf(document.activeElement);
    host.replaceChildren(...children);
    all()[focused]?.focus();
}

/** Attributes of an SVG element that is pressed as a button is. */
export function pressed(press) {
    const keydown = (event) => {
        if (!["Enter", " "].includes(event.key)) return;
        event.preventDefault();
        press();
    };
    return { role: "button", click: press, keydown };
}

/** Let arrow keys, Home and End move among the buttons in an element, which is then one stop of the Tab key. `columns`
    of them stand in a row, where up and down are other ways than left and right. */
export function roving(list, { columns = 1 } = {}) {
    const buttons = () => [...list.querySelectorAll(BUTTON)];
    const stop = (one) => buttons().forEach((button) => button.setAttribute("tabindex", button === one ? 0 : -1));
    const focused = buttons().find((button) => button === document.activeElement);
    stop(focused ?? list.querySelector("[aria-pressed=true], [aria-current]") ?? buttons()[0]);
    if (roved.has(list)) return;
    roved.add(list);
    list.addEventListener("focusin", ({ target }) => stop(target.closest(BUTTON)));
    list.addEventListener("keydown", (event) => {
        const all = buttons(), at = all.indexOf(document.activeElement), last = all.length - 1, { key } = event;
        const across = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last };
        const to = { ...across, ArrowDown: at + columns, ArrowUp: at - columns }[key];
        if (at < 0 || to === undefined) return;
        event.preventDefault();
        all[to]?.focus();
    });
}

const roved = new WeakSet(); /* elements that listen already, whose buttons may be others now */
