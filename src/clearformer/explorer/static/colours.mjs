/* The page's colours as numbers, for pictures whose shades are computed. */

/** Colours of style.css, [red, green, blue] each, as they are now: light or dark. */
export function palette() {
    const style = getComputedStyle(document.documentElement);
    const found = ["paper", "card", "ink", "accent", "contrast"].map((name) => {
        const hex = style.getPropertyValue(`--${name}`).trim();
        return [name, [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16))];
    });
    return Object.fromEntries(found);
}

/** From -1, red, over 0 to 1, blue; as strong as the square root, so that small numbers can be seen. */
export function shade({ card, accent, contrast }, value) {
    const to = value < 0 ? contrast : accent, share = Math.sqrt(Math.min(Math.abs(value), 1));
    return card.map((from, i) => Math.round(from + (to[i] - from) * share));
}

export const rgb = (colour) => `rgb(${colour.join(" ")})`;

/** Black or white, whichever is easier to read on a colour: WCAG 2.2, contrast ratio. */
export function inkOn(colour) {
    const [r, g, b] = colour.map((x) => (x <= 10 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}
