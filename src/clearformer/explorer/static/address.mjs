/* The state of the page in its address, behind "#": what differs from the defaults. A reload or a link restores it. */

const PAUSE = 250; /* milliseconds without a change; browsers refuse many changes of the address in a short time */
const JSON_VALUE = /^(-?\d+(\.\d+)?|true|false)$/;

export const isPlace = (value, count) => Number.isInteger(value) && value >= 0 && value < count;

/** A place among `count` for what an address says; if that is no place at all, `otherwise`. */
export function placeIn(count, value, otherwise = 0) {
    return Number.isInteger(value) && value >= 0 ? Math.min(value, count - 1) : otherwise;
}

/** What an address says, if it is the name of an option [name, text], else the first one. */
export function optionIn(options, value) {
    return options.some(([name]) => name === value) ? value : options[0][0];
}

export class State {
    /** `defaults` has every value: texts, numbers and booleans; `changed` gets the names of those that change. */
    constructor(defaults, changed) {
        this.changed = changed;
        this.defaults = defaults;
        Object.assign(this, this.#read());
        this.known = location.hash;
        this.open = new AbortController();
        window.addEventListener("hashchange", () => {
            if (location.hash === this.known) return;
            this.known = location.hash;
            this.set(this.#read());
        }, { signal: this.open.signal });
    }

    /** The address changes no more. */
    close() {
        clearTimeout(this.timer);
        this.open.abort();
    }

    set(changes) {
        const names = Object.keys(changes).filter((name) => this[name] !== changes[name]);
        if (!names.length) return;
        Object.assign(this, changes);
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.#write(), PAUSE);
        this.changed(names);
    }

    /** The defaults, but for what the address has, if it is of their type. */
    #read() {
        const found = { ...this.defaults };
        for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
            const value = typeof found[name] !== "string" && JSON_VALUE.test(text) ? JSON.parse(text) : text;
            if (typeof value === typeof found[name]) found[name] = value;
        }
        return found;
    }

    #write() {
        if (location.protocol === "about:") return; /* in a notebook the page has no address */
        if (location.hash !== this.known) return; /* another address was typed, and its event is on the way */
        const names = Object.keys(this.defaults).filter((name) => this[name] !== this.defaults[name]);
        history.replaceState(null, "", `#${new URLSearchParams(names.map((name) => [name, this[name]]))}`);
        this.known = location.hash; /* as the browser spells it */
    }
}
