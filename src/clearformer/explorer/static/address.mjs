/* The state of the page in its address, behind "#": what differs from the defaults, so that a reload or a link has it. */

const PAUSE = 250; /* milliseconds without a change; browsers refuse many changes of the address in a short time */

export class State {
    /** `defaults` has every value, a text, number or boolean; `changed` is called with the names of those that change. */
    constructor(defaults, changed) {
        this.changed = changed;
        this.defaults = defaults;
        Object.assign(this, this.#read());
        this.open = new AbortController();
        window.addEventListener("hashchange", () => {
            if (location.hash.slice(1) !== this.written) this.set(this.#read());
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

    #read() {
        return { ...this.defaults, ...this.#given() };
    }

    /** What the address has, of the types that the defaults have. */
    #given() {
        const found = {};
        for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
            const value = typeof this.defaults[name] === "string" ? text : JSON.parse(/^(-?\d+(\.\d+)?|true|false)$/.test(text) ? text : "null");
            if (typeof value === typeof this.defaults[name]) found[name] = value;
        }
        return found;
    }

    #write() {
        if (location.protocol === "about:") return; /* in a notebook the page has no address */
        const names = Object.keys(this.defaults).filter((name) => this[name] !== this.defaults[name]);
        this.written = new URLSearchParams(names.map((name) => [name, this[name]])).toString();
        history.replaceState(null, "", `#${this.written}`);
        this.written = location.hash.slice(1); /* as the browser spells it */
    }
}
