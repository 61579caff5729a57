/* What the view Lens shows, as figures, of `asked`: what question.mjs returns, with { point, points }, those of the
   stream, and the `sizes` of the model. */

import { cells } from "../cells.mjs";
import { element } from "../dom.mjs";
import { heatmap } from "../heatmap.mjs";
import { sum } from "../numbers.mjs";
import { signed, signedBars } from "../signed.mjs";
import { hasNorms } from "../stacks.mjs";
import { percent, token, visible } from "../visible.mjs";

const COLUMNS = 16, PARTS = 16; /* tokens and parts in a picture */
const EXACT = 0.005; /* of a sum that is shown with two digits */

/** The likeliest output at each point and token, of the task "lens". */
export function lensFigure({ text, own, at, point, points, name }, { T, ids, p, logP }, state) {
    const first = Math.max(0, Math.min(at - COLUMNS / 2, T - COLUMNS));
    const shown = text.tokens.slice(first, first + COLUMNS);
    const cell = (r, c) => {
        const i = r * T + first + c, output = name(ids[i]), note = percent(p[i]), framed = ids[i] === own[first + c];
        const label = `${points[r]}, ${visible(shown[c])}: ${visible(output)}, ${note}`;
        return { text: output, note, share: p[i], framed, label };
    };
    const note = [
        "A model writes into its residual stream, layer by layer; only at the end does the output layer read it.",
        "The logit lens lets it read after every layer.",
        own.length && "A frame has what the text has there.",
        "Choose a cell.",
        T > COLUMNS && `Tokens ${first + 1} to ${first + shown.length} of ${T} are shown.`,
    ];
    const row = (r, t) => {
        const i = r * T + t;
        return [points[r], t, text.tokens[t], name(ids[i]), p[i], ...(own.length ? [logP[i]] : [])];
    };
    return {
        title: "Logit lens: if the model stopped here",
        note: note.filter(Boolean).join(" "),
        picture: cells({
            rows: points, columns: shown, chosen: [point, at - first], cell,
            press: (r, c) => state.set({ point: r, at: first + c, output: -1 }),
            label: "The likeliest output at each point and token; arrow keys move, Enter chooses",
        }),
        rows: [
            ["point", "position", "token", "likeliest", "its P", ...(own.length ? ["ln P of what the text has"] : [])],
            ...points.flatMap((_, r) => text.tokens.map((_each, t) => row(r, t))),
        ],
    };
}

/** What each part adds to the logit, of the task "contributions"; in the picture the largest, and the sum of the
    others. */
export function contributionsFigure({ place, name, output, sizes }, { names, values }) {
    const parts = names.map((each, i) => ({ name: each, value: values[i] }));
    const total = { name: "sum: the logit", value: sum(values), strong: true };
    const ranked = [...parts].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)), rest = ranked.slice(PARTS);
    const others = { name: `${rest.length} other parts`, value: sum(rest.map(({ value }) => value)) };
    const short = (text) => text.replace(/^layer /, "L").replace("cross-attention", "cross");
    const largest = ranked.slice(0, PARTS).map((each) => ({ ...each, name: short(each.name) }));
    const shown = rest.length ? [...largest, others] : largest;
    const said = [...shown, total].map((each) => `${each.name} ${signed(each.value)}`).join(", ");
    return {
        title: ["Contributions to the logit of ", token(name(output)), element("small", {}, " ", ...place)],
        note: "A logit is a sum: each part of the model adds a vector to the residual stream, and so to the logit. " +
            "What a part does by way of later parts counts as theirs." +
            (hasNorms(sizes) ? " The scale of every norm is held as it was." : ""),
        picture: signedBars(shown, `Contributions: ${said}`, total),
        rows: [["part", "contribution"], ...parts.map((each) => [each.name, each.value]), ["sum", total.value]],
    };
}

/** The lengths of a stack's vectors, of the task "norms". */
export function normsFigure({ points }, { T, values }, stack, { tokens }) {
    const names = points.map((point) => point.replace("after layer ", "L"));
    const label = "The length of the residual stream’s vectors: points in rows, tokens in columns";
    return {
        title: `Length of the residual stream${stack && `, ${stack.toLowerCase()}`}`,
        note: "The Euclidean norm of every token’s vector. L0 is behind layer 0.",
        picture: heatmap({ T: points.length, S: T, values }, names, tokens, label, { wide: true }).picture,
        rows: [["point", ...tokens], ...points.map((point, r) => [point, ...values.subarray(r * T, (r + 1) * T)])],
    };
}

/** What the tokens of each text are worth for the logit, of the shares that the task "attribution" found. */
export function attributionFigures({ name, output }, texts, shares) {
    const shareOf = (i, t) => sum(shares.map((share) => share.texts[i][t]));
    const worth = texts.map(({ ids }, i) => Float64Array.from(ids, (_, t) => shareOf(i, t)));
    const most = Math.max(...worth.flatMap((values) => [...values].map(Math.abs)));
    const total = sum(worth.map(sum)), [{ change }] = shares, exact = Math.abs(total - change) < EXACT;
    const note = "Integrated gradients go from a text without words to this one, and share the change of the logit " +
        `among the tokens. It changes by ${signed(change)}; the sum is ${signed(total)}` +
        (exact ? "." : ": near the text without words it changes too fast for an exact integral.");
    return texts.map(({ name: text, tokens }, i) => {
        const values = worth[i], of = texts.length > 1 ? ` of the ${text}` : "";
        const label = tokens.map((each, t) => `${visible(each)} ${signed(values[t])}`).join(", ");
        const size = { T: 1, S: tokens.length }, look = { most, wide: true };
        const { picture } = heatmap({ ...size, values }, [""], tokens, `Worth: ${label}`, look);
        return {
            title: [`What the tokens${of} are worth for `, token(name(output))],
            note: i === 0 ? note : "",
            picture,
            rows: [["position", "token", "worth"], ...tokens.map((each, t) => [t, each, values[t]])],
        };
    });
}
