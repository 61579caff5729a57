/* The run's tokenizer: the engine encodes, this gives each token a text that can be shown. */

/* The pieces of clearformer/data/tokenizers.py, of which each is a token where the vocabulary has no byte pairs. */
const WORD = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}";
const CHARACTER = /[^]/gu, PIECE = RegExp(` ?[${WORD}]+| ?[^\\s${WORD}]+|\\n|[^\\S\\n]+(?!\\S)|[^\\S\\n]`, "gu");

export class Vocabulary {
    /** `text`: of tokenizer.json; `names`: of special_tokens_map.json beside an imported one, and `target`: of
        target_tokenizer.json, where targets have pieces of their own, "" if there is none.
        Throws if the engine does not read it. `special` has ids by roles, and `ordinary` those of texts that a model
        may write. */
    constructor(engine, text, { V }, names = "", target = "") {
        this.tokenizer = engine.tokenizer(text, names);
        this.target = target ? engine.tokenizer(target, names) : this.tokenizer;
        const { special, around, size } = this.tokenizer;
        const { added_tokens: added, pre_tokenizer: pieces } = JSON.parse(text);
        const contents = new Map(added.map(({ id, content }) => [id, content]));
        const ids = Array.from({ length: V }, (_, id) => id), never = (id) => this.tokenizer.isNeverWritten(id);
        this.piece = pieces?.pattern?.Regex === "[\\s\\S]" ? CHARACTER : PIECE;
        Object.assign(this, { special, around, imported: names !== "", never: ids.filter(never) });
        const behind = this.imported && special.mask === undefined; /* what fills a hole is a token by itself */
        const shown = (id) => (behind ? this.tokenizer.behind(id) : this.tokenizer.decode([id]));
        this.texts = ids.map((id) => contents.get(id) ?? (id < size ? shown(id) : "\ufffd"));
        this.ordinary = ids.filter((id) => !never(id) && id !== special.mask && !this.texts[id].includes("\ufffd"));
        const ordinary = this.ordinary.map((id) => this.texts[id]);
        this.includesSpaces = ordinary.some((token) => /^ ./su.test(token)); /* the one before a word */
    }

    /** { ids, tokens }: numbers and texts. An unknown token has what was typed, a part of a character \ufffd. */
    encode(text, tokenizer = this.tokenizer) {
        const { unk } = this.special, ids = tokenizer.encode(text);
        const pieces = ids.includes(unk) && !this.imported ? text.match(this.piece) : [];
        const typed = (i) => (pieces.length === ids.length ? pieces[i] : this.texts[unk]);
        return { ids, tokens: ids.map((id, i) => (id === unk ? typed(i) : this.texts[id])) };
    }

    /** The same of a text that a translator writes. */
    encodeTarget(text) {
        return this.encode(text, this.target);
    }

    /** `encode` with the tokens that stand before a text and behind it. */
    surrounded({ ids, tokens }) {
        const [before, behind] = this.around.map((each) => this.written([...each]));
        return {
            ids: [...before.ids, ...ids, ...behind.ids], tokens: [...before.tokens, ...tokens, ...behind.tokens],
        };
    }

    /** { ids, tokens } of what a model wrote. */
    written(ids) {
        return { ids, tokens: ids.map((id) => this.texts[id]) };
    }
}
