/* A text as the model reads it.

       reading = { inputs, texts: [{ name, ids, tokens }], written, masked, notes }

   `inputs` is what engine and tasks take. `texts` are the tokens that are read: a text, or a source and a target. `written`
   are those that an encoder-decoder writes, one for each token of the target that it reads, and `masked` the places that
   a masked language model does not see. `notes` are sentences about what was left out. As clearformer/inspection/reading.py. */

import { BOS, EOS } from "../../../engines/c/decoding.mjs";
import { MASK } from "./vocabulary.mjs";

const BEAM = { beam: 4, lengthPenalty: 0.6 }; /* of the model's own translation: as `clearformer translate` */

/** `masked`: the places of tokens that a masked language model shall not see, in the text whose tokens were `before`. */
export function read({ model, vocabulary }, { text, target = "", masked = [], before }) {
    return READERS[model.family]({ model, vocabulary, text: text.toWellFormed(), target: target.toWellFormed(), masked, before });
}

const READERS = {
    gpt({ model, vocabulary, text }) {
        const { context } = model.sizes, found = vocabulary.encode(text), over = found.ids.length - context;
        const shown = { name: "text", ids: found.ids.slice(-context), tokens: found.tokens.slice(-context) };
        return { inputs: shown.ids, texts: [shown], notes: over > 0 ? [note(context, over, "first")] : [] };
    },

    bert({ model, vocabulary, text, masked: given, before }) {
        const { kept, notes } = shortened(withMasks(vocabulary, text), model.sizes.context);
        const masked = moved(given, before ?? kept.ids, kept.ids), ids = kept.ids.map((id, i) => (masked.includes(i) ? MASK : id));
        return { inputs: { tokens: ids }, texts: [{ name: "text", ...kept }], masked, notes };
    },

    classifier({ model, vocabulary, text }) {
        const { context, segments } = model.sizes, texts = text.split("\t").map((part) => vocabulary.encode(part));
        const { lengths, notes } = fitting(texts.map(({ ids }) => ids.length), context);
        const ids = [BOS], tokens = ["<bos>"], numbers = [0];
        texts.forEach((found, number) => {
            ids.push(...found.ids.slice(0, lengths[number]), EOS);
            tokens.push(...found.tokens.slice(0, lengths[number]), "<eos>");
            while (numbers.length < ids.length) numbers.push(Math.min(number, Math.max(segments - 1, 0)));
        });
        return { inputs: { tokens: ids, segments: numbers }, texts: [{ name: "text", ids, tokens }], notes };
    },

    transformer({ model, vocabulary, text, target }) {
        const from = shortened(vocabulary.encode(text), model.sizes.context - 1), source = from.kept;
        const given = target === "" ? translated(model, vocabulary, source.ids) : vocabulary.encode(target);
        const { kept, notes } = shortened(given, model.sizes.context - 1);
        const sourceText = { name: "source", ids: [...source.ids, EOS], tokens: [...source.tokens, "<eos>"] };
        const targetText = { name: "target", ids: [BOS, ...kept.ids], tokens: ["<bos>", ...kept.tokens] };
        return {
            inputs: { source: sourceText.ids, target: targetText.ids },
            texts: [sourceText, targetText],
            written: { name: "written", ids: [...kept.ids, EOS], tokens: [...kept.tokens, "<eos>"] },
            notes: [...from.notes, ...notes],
        };
    },
};

const note = (most, over, which) =>
    `The model reads ${most} tokens at most; the ${which} ${over.toLocaleString("en")} of this text are left out.`;

function shortened({ ids, tokens }, most) {
    const over = ids.length - most;
    return { kept: { ids: ids.slice(0, most), tokens: tokens.slice(0, most) }, notes: over > 0 ? [note(most, over, "last")] : [] };
}

/** How much of each text fits, with <bos> and an <eos> each: tokens are taken from the longest, of equals the last. */
function fitting(lengths, context) {
    const room = context - 1 - lengths.length;
    if (room < lengths.length) throw Error(`at most ${(context - 1) >> 1} texts were expected, found ${lengths.length}; leave out tabs`);
    const kept = [...lengths], over = kept.reduce((a, b) => a + b) - room;
    for (let i = 0; i < over; i++) kept[kept.lastIndexOf(Math.max(...kept))]--;
    return { lengths: kept, notes: over > 0 ? [note(context, over, "last")] : [] };
}

/** Of a text with <mask>: MASK for each, without the space before it, which the masked token includes. */
function withMasks(vocabulary, text) {
    const pieces = text.split("<mask>"), ids = [], tokens = [];
    pieces.forEach((piece, i) => {
        const found = vocabulary.encode(i < pieces.length - 1 && vocabulary.includesSpaces ? piece.replace(/ $/, "") : piece);
        ids.push(...found.ids, ...(i < pieces.length - 1 ? [MASK] : []));
        tokens.push(...found.tokens, ...(i < pieces.length - 1 ? ["<mask>"] : []));
    });
    return { ids, tokens };
}

/** Where tokens of a text that was edited are now: those before and behind the edit. */
function moved(places, before, now) {
    const shortest = Math.min(before.length, now.length), later = now.length - before.length;
    let first = 0, last = 0;
    while (first < shortest && before[first] === now[first]) first++;
    while (last < shortest - first && before.at(-1 - last) === now.at(-1 - last)) last++;
    return places.filter((i) => i < first || (i >= before.length - last && i < before.length))
        .map((i) => (i < first ? i : i + later));
}

/** The model's own translation. */
function translated(model, vocabulary, ids) {
    const [[{ tokens }]] = model.translate([ids], BEAM);
    return vocabulary.written(tokens);
}
