/* Lens: what the model would say at each layer, and which parts and tokens a logit comes from. */

import { cells, reveal } from "../cells.mjs";
import { distribution } from "../distribution.mjs";
import { element } from "../dom.mjs";
import { Figures } from "../figure.mjs";
import { heatmap } from "../heatmap.mjs";
import { QUESTION, Question } from "../question.mjs";
import { signed, signedBars } from "../signed.mjs";
import { pointsOf, stacksOf } from "../stacks.mjs";
import { percent, token, visible } from "../visible.mjs";
import { Work } from "../work.mjs";

const COLUMNS = 48, LIKELIEST = 10, PARTS = 16; /* tokens, outputs and parts in a picture */
const POINTS = 64, CHUNK = 8; /* of the quadrature in tasks/attribution.mjs, and of them in one step */

const ABOUT = {
    lens: "A model writes into its residual stream, layer by layer; only at the end does the output layer read it. The logit lens lets it read after every layer.",
    contributions: "A logit is a sum: each part of the model adds a vector to the residual stream, and this vector adds to the logit. What a part does by way of later parts counts as theirs. To be exact, the scale of every norm is held as it was.",
    attribution: "Integrated gradients go from a text without words to this one, and share the change of the logit among the tokens.",
    norms: "How long the vectors in the residual stream are, at every layer and token.",
};

export const view = {
    name: "lens",
    title: "Lens",
    answers: "What would the model say at each layer, and what makes it say so?",
    suits: () => true,
    settings: { ...QUESTION, point: -1, attribute: true }, /* point: of the stream; -1: the last */
    render(host, state, model) {
        const [lens, logit, tokens, norms] = ["lens", "logit", "attribution", "norms"].map((name) => new Figures(name));
        const question = new Question(state, model), work = new Work(state, "attribute", "Attribute the logit to the tokens that are read", tokens.element);
        for (const { element: wide } of [lens, tokens, norms]) wide.classList.add("wide");
        host.append(question.element, lens.element, logit.element, work.element, tokens.element, norms.element);
        return async (reading, signal) => {
            const asked = await question.ask(reading, signal), ask = (task, values) => model.ask(task, { inputs: reading.inputs, ...values }, signal);
            const of = { ...asked, reading, point: Number.isInteger(state.point) && state.point >= 0 ? Math.min(state.point, model.sizes.L) : model.sizes.L, points: pointsOf(model.sizes) };
            const found = await ask("lens", { targets: of.own, top: LIKELIEST, cell: [of.point, of.at] });
            const parts = await ask("contributions", { at: of.at, output: of.output });
            const focused = document.activeElement.closest(".cell");
            lens.show([lensFigure(of, found, state)]);
            if (focused) lens.element.querySelector(".cell[aria-pressed=true]").focus({ preventScroll: true });
            reveal(lens.element.querySelector(".cells"));
            logit.show([outputsFigure(of, found.top), contributionsFigure(of, parts)]);
            norms.show((await ask("norms")).map((each, i) => normsFigure(of, each, stacksOf(model.family, model.sizes)[i])));
            const steps = Array.from({ length: POINTS / CHUNK }, (_, i) => () =>
                ask("attribution", { at: of.row, output: of.output, points: [CHUNK * i, CHUNK * (i + 1)] }));
            work.run(JSON.stringify([reading.inputs, of.row, of.output]), steps, signal).then((shares) =>
                signal.aborted || tokens.show(shares ? attributionFigures(of, shares) : [])); /* nobody waits for it */
        };
    },
};

/** The likeliest output at each point and token. */
function lensFigure({ text, own, at, point, points, name }, { T, ids, p, logP }, state) {
    const first = Math.max(0, Math.min(at - COLUMNS / 2, T - COLUMNS)), shown = text.tokens.slice(first, first + COLUMNS);
    const picture = cells({
        rows: points, columns: shown, chosen: [point, at - first], press: (r, c) => state.set({ point: r, at: first + c, output: -1 }),
        label: "The likeliest output at each point and token; arrow keys move, Enter chooses",
        cell: (r, c) => {
            const i = r * T + first + c, output = name(ids[i]);
            return { text: output, note: percent(p[i]), share: p[i], framed: ids[i] === own[first + c], label: `${points[r]}, ${visible(shown[c])}: ${visible(output)}, ${percent(p[i])}` };
        },
    });
    const part = T > COLUMNS ? ` Tokens ${first + 1} to ${first + shown.length} of ${T} are shown.` : "", framed = own.length ? " A frame has what the text has there." : "";
    const rows = points.flatMap((where, r) => text.tokens.map((each, t) => [where, t, each, name(ids[r * T + t]), p[r * T + t], ...(own.length ? [logP[r * T + t]] : [])]));
    return {
        title: "Logit lens: if the model stopped here", picture, note: `${ABOUT.lens}${framed} Choose a cell.${part}`,
        rows: [["point", "position", "token", "likeliest", "its probability", ...(own.length ? ["ln P of what the text has"] : [])], ...rows],
    };
}

/** The outputs at the chosen cell. */
function outputsFigure({ text, at, point, points, output, names }, top) {
    return distribution([`Outputs: ${points[point]}, at `, token(text.tokens[at])], names, top, output);
}

/** What each part adds to the logit; in the picture the largest, and the sum of the others. */
function contributionsFigure({ place, name, output }, { names, values }) {
    const parts = names.map((each, i) => ({ name: each, value: values[i] })), sum = ({ value: a }, { value: b }) => ({ value: a + b }), zero = { value: 0 };
    const ranked = [...parts].sort((a, b) => Math.abs(b.value) - Math.abs(a.value)), rest = ranked.slice(PARTS), total = parts.reduce(sum, zero).value;
    const shown = [...ranked.slice(0, PARTS), ...(rest.length ? [{ name: `${rest.length} other parts`, value: rest.reduce(sum, zero).value }] : [])];
    const label = `Contributions: ${shown.map((each) => `${each.name} ${signed(each.value)}`).join(", ")}; their sum is ${signed(total)}`;
    return {
        title: ["Contributions to the logit of ", token(name(output)), element("small", {}, " ", ...place)],
        picture: signedBars(shown.map((each) => ({ ...each, name: each.name.replace(/^layer /, "L").replace("cross-attention", "cross") })), label, { name: "sum: the logit", value: total, strong: true }),
        note: ABOUT.contributions,
        rows: [["part", "contribution"], ...parts.map((each) => [each.name, each.value]), ["sum", total]],
    };
}

/** The lengths of a stack's vectors. */
function normsFigure({ reading, points }, { T, values }, { title, text }) {
    const { tokens } = reading.texts[text], named = reading.texts.length > 1 ? `${title}: ` : "";
    const { picture } = heatmap({ T: points.length, S: T, values }, ["embedding", ...points.slice(1).map((_, l) => `L${l}`)], tokens, "The length of the residual stream’s vectors: points in rows, tokens in columns");
    return {
        title: [`${named}Length of the residual stream`, element("small", {}, " Euclidean norm")], picture, note: text === 0 ? ABOUT.norms : "",
        rows: [["point", ...tokens], ...points.map((where, r) => [where, ...values.subarray(r * T, (r + 1) * T)])],
    };
}

/** Of each text, what its tokens are worth for the logit. */
function attributionFigures({ reading, name, output }, shares) {
    const sumOf = (values) => values.reduce((a, b) => a + b, 0), [{ change }] = shares;
    const texts = reading.texts.map((text, i) => ({ ...text, values: Float64Array.from(text.ids, (_, t) => sumOf(shares.map(({ texts: each }) => each[i][t]))) }));
    const most = Math.max(...texts.flatMap(({ values }) => [...values].map(Math.abs)));
    const gap = sumOf(texts.map(({ values }) => sumOf(values))) - change, about = `The logit changes by ${signed(change)}; the sum is ${signed(change + gap)}${Math.abs(gap) < 0.005 ? "" : ": near the text without words the logit changes too fast for an exact integral"}.`;
    return texts.map(({ name: each, tokens, values }, i) => ({
        title: [texts.length > 1 ? `What the tokens of the ${each} are worth for ` : "What the tokens are worth for ", token(name(output)), ],
        note: i ? "" : `${ABOUT.attribution} ${about}`,
        picture: heatmap({ T: 1, S: tokens.length, values }, [""], tokens, `Integrated gradients: ${tokens.map((one, t) => `${visible(one)} ${signed(values[t])}`).join(", ")}`, most).picture,
        rows: [["position", "token", "worth"], ...tokens.map((one, t) => [t, one, values[t]])],
    }));
}
