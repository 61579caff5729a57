/* The structs of transformer.h, as bytes. */

/** The fields of a struct: q count, p pointer, i int32, f float. */
const LAYOUTS = {
    pointer: "p", tensor: "pqqp", batch: "qqpppp", memory: "qpp", cache: "qqqqpppppp", objective: "pffi",
    update: "qppppfff", touch: "ifqqqqqqqqp",
};
const FIELDS = {
    q: [8, (view, at, value) => view.setBigInt64(at, BigInt(value), true)],
    p: [4, (view, at, value) => view.setUint32(at, value, true)],
    i: [4, (view, at, value) => view.setInt32(at, value, true)],
    f: [4, (view, at, value) => view.setFloat32(at, value, true)],
};

export const upTo = (multiple, n) => Math.ceil(n / multiple) * multiple;

/** A DataView of structs, one after the other, each given as the values of its fields; a field stands at a multiple of
    its size, and a struct at a multiple of its largest field's. */
export function structs(name, rows) {
    const fields = [...LAYOUTS[name]].map((letter) => FIELDS[letter]);
    let end = 0;
    const places = fields.map(([bytes]) => {
        const at = upTo(bytes, end);
        end = at + bytes;
        return at;
    });
    const size = upTo(Math.max(...fields.map(([bytes]) => bytes)), end);
    const view = new DataView(new ArrayBuffer(size * rows.length));
    rows.forEach((values, row) => fields.forEach(([, put], i) => put(view, row * size + places[i], values[i])));
    return view;
}
