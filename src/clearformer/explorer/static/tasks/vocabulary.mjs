/* The run's tokenizer: the engine encodes, this gives each token a text that can be shown. */

import { UNK } from "../special.mjs";

/* The pieces of clearformer/data/tokenizers.py, of which each is a token where the vocabulary has no byte pairs. */
const WORD = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}";
const CHARACTER = /[^]/gu, PIECE = RegExp(` ?[${WORD}]+| ?[^\\s${WORD}]+|\\n|[^\\S\\n]+(?!\\S)|[^\\S\\n]`, "gu");

export class Vocabulary {
    /** `text`: of tokenizer.json. Throws if it is not one that clearformer writes. */
    constructor(engine, text, { V }) {
        this.tokenizer = engine.tokenizer(text);
        const { added_tokens: added, pre_tokenizer: pieces } = JSON.parse(text);
        const special = new Map(added.map(({ id, content }) => [id, content]));
        this.piece = pieces.pattern?.Regex === "[\\s\\S]" ? CHARACTER : PIECE;
        this.texts = Array.from({ length: V }, (_, id) => special.get(id) ?? this.tokenizer.decode([id]));
        const ordinary = this.texts.filter((token, id) => !special.has(id) && !token.includes("\ufffd"));
        this.includesSpaces = ordinary.some((token) => /^ ./su.test(token)); /* the one before a word */
    }

    /** { ids, tokens }: numbers and texts. An unknown token has what was typed, a part of a character \ufffd. */
    encode(text) {
        const ids = this.tokenizer.encode(text), pieces = ids.includes(UNK) ? text.match(this.piece) : [];
        const typed = (i) => (pieces.length === ids.length ? pieces[i] : this.texts[UNK]);
        return { ids, tokens: ids.map((id, i) => (id === UNK ? typed(i) : this.texts[id])) };
    }

    /** { ids, tokens } of what a model wrote. */
    written(ids) {
        return { ids, tokens: ids.map((id) => this.texts[id]) };
    }
}
