/* A text as the model reads it, as clearformer/inspection/reading.py has it.

       reading = { inputs, texts: [{ name, ids, tokens }], written, masked, notes }

   `inputs` is what the engine takes. `texts` are the tokens that are read: those of a "text", or of a "source" and a
   "target". `written` are those that an encoder-decoder writes, one for each token of the target that it reads, and
   `masked` the places that a masked language model does not see. `notes` are sentences about what was left out. */

import { BOS, EOS } from "../../../engines/c/decoding.mjs";

export const COMMAND = { beam: 4, lengthPenalty: 0.6 }; /* of the model's own translation: as `clearformer translate` */

/** `masked`: the places of tokens that a masked language model shall not see, counted in the tokens `before`. */
export function read({ model, vocabulary }, { text, target, masked, before }) {
    const [source, given] = [text, target].map((typed) => typed.toWellFormed());
    return READERS[model.family](vocabulary, model, source, { target: given, masked, before });
}

const READERS = {
    gpt(vocabulary, { sizes: { context } }, text) {
        const { ids, tokens } = vocabulary.surrounded(vocabulary.encode(text));
        const shown = { ids: ids.slice(-context), tokens: tokens.slice(-context) };
        return { inputs: shown.ids, texts: [{ name: "text", ...shown }], notes: note(context, ids.length, "first") };
    },

    bert(vocabulary, { sizes: { context } }, text, { masked: given, before }) {
        const { kept, notes } = shortened(withMasks(vocabulary, text), context);
        const masked = moved(given, before ?? kept.ids, kept.ids);
        const ids = kept.ids.map((id, i) => (masked.includes(i) ? vocabulary.special.mask : id));
        return { inputs: { tokens: ids }, texts: [{ name: "text", ...kept }], masked, notes };
    },

    classifier(vocabulary, { sizes: { context, segments } }, text) {
        const texts = text.split("\t").map((part) => vocabulary.encode(part));
        const lengths = texts.map(({ ids }) => ids.length), kept = fitting(lengths, context);
        const ids = [BOS], tokens = ["<bos>"], numbers = [0];
        texts.forEach((found, number) => {
            ids.push(...found.ids.slice(0, kept[number]), EOS);
            tokens.push(...found.tokens.slice(0, kept[number]), "<eos>");
            while (numbers.length < ids.length) numbers.push(Math.min(number, Math.max(segments - 1, 0)));
        });
        const notes = note(context, 1 + sum(lengths) + texts.length, "last");
        return { inputs: { tokens: ids, segments: numbers }, texts: [{ name: "text", ids, tokens }], notes };
    },

    transformer(vocabulary, model, text, { target }) {
        const most = model.sizes.context - 1, source = shortened(vocabulary.encode(text), most);
        const written = target === "" ? translated(vocabulary, model, source.kept.ids) : vocabulary.encodeTarget(target);
        const { kept, notes } = shortened(written, most);
        const texts = [{ name: "source", ...ended(source.kept, vocabulary) },
            { name: "target", ...begun(kept, vocabulary) }];
        const inputs = { source: texts[0].ids, target: texts[1].ids };
        return { inputs, texts, written: ended(kept, vocabulary), notes: [...source.notes, ...notes] };
    },
};

const begun = ({ ids, tokens }, { texts }) => ({ ids: [BOS, ...ids], tokens: [texts[BOS], ...tokens] });
const ended = ({ ids, tokens }, { texts }) => ({ ids: [...ids, EOS], tokens: [...tokens, texts[EOS]] });
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

/** A sentence, if a text of so many tokens is too long. */
function note(most, length, which) {
    if (length <= most) return [];
    const over = (length - most).toLocaleString("en");
    return [`The model reads ${most} tokens at most; the ${which} ${over} of this text are left out.`];
}

function shortened({ ids, tokens }, most) {
    return { kept: { ids: ids.slice(0, most), tokens: tokens.slice(0, most) }, notes: note(most, ids.length, "last") };
}

/** How much of each text fits, with <bos> and an <eos> each: tokens are taken from the longest, of equals the last. */
function fitting(lengths, context) {
    const kept = [...lengths], most = (context - 1) >> 1;
    if (kept.length > most) throw Error(`at most ${most} texts were expected, found ${kept.length}; leave out tabs`);
    for (let over = 1 + sum(kept) + kept.length - context; over > 0; over--)
        kept[kept.lastIndexOf(Math.max(...kept))]--;
    return kept;
}

/** Of a text with <mask>: the token of a hole for each, which includes the space before it. */
function withMasks(vocabulary, text) {
    const pieces = text.split("<mask>"), last = pieces.pop(), ids = [], tokens = [], { mask } = vocabulary.special;
    for (const piece of pieces) {
        const spaced = vocabulary.includesSpaces && piece.endsWith(" ");
        const found = vocabulary.encode(spaced ? piece.slice(0, -1) : piece);
        ids.push(...found.ids, mask);
        tokens.push(...found.tokens, spaced ? " <mask>" : "<mask>");
    }
    const rest = vocabulary.encode(last);
    return vocabulary.surrounded({ ids: [...ids, ...rest.ids], tokens: [...tokens, ...rest.tokens] });
}

/** Where tokens of a text that was edited are now: those before and behind the edit. */
function moved(places, before, now) {
    const shortest = Math.min(before.length, now.length), later = now.length - before.length;
    let first = 0, last = 0;
    while (first < shortest && before[first] === now[first]) first++;
    while (last < shortest - first && before.at(-1 - last) === now.at(-1 - last)) last++;
    const kept = places.filter((i) => i < first || (i >= before.length - last && i < before.length));
    return kept.map((i) => (i < first ? i : i + later));
}

/** The model's own translation. */
function translated(vocabulary, model, ids) {
    const [[{ tokens }]] = model.translate([ids], COMMAND);
    return vocabulary.written(tokens);
}
