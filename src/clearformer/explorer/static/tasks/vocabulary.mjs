/* The run's tokenizer, as clearformer/data/tokenizers.py has it. */

import { Tokenizer } from "../../vendor/tokenizers/tokenizers.min.mjs";
import { BOS, EOS, PAD } from "../../../engines/c/decoding.mjs";

export const MASK = 4;

export class Vocabulary {
    /** `json`: the object of tokenizer.json. */
    constructor(json) {
        const added = json.added_tokens ?? [], settings = { unk_token: json.model.unk_token, clean_up_tokenization_spaces: false };
        this.special = new Map(added.filter(({ special }) => special).map(({ id, content }) => [id, content]));
        /* without special tokens, so that "<pad>" in a text is five characters */
        this.tokenizer = new Tokenizer({ ...json, added_tokens: added.filter(({ special }) => !special) }, settings);
    }

    /** { ids, tokens }, the tokens as text; of those outside the vocabulary it is what was typed. */
    encode(text) {
        if (!text) return { ids: [], tokens: [] };
        const { ids, tokens } = this.tokenizer.encode(text, { add_special_tokens: false });
        return { ids, tokens: ids.map((id, i) => (this.tokenizer.token_to_id(tokens[i]) === id ? this.text(id) : tokens[i])) };
    }

    /** All V tokens as text. */
    texts(V) {
        const texts = Array.from({ length: V }, (_, id) => this.text(id));
        const ordinary = texts.filter((text, id) => !this.special.has(id) && !text.includes("\ufffd"));
        this.includesSpaces = ordinary.some((text) => text.length > 1 && text.startsWith(" ")); /* of a word, before it */
        return texts;
    }

    /** One token as text; part of a character becomes \ufffd. */
    text(id) {
        return this.special.get(id) ?? this.tokenizer.decode([id]);
    }

    decode(ids) {
        const shown = ids.filter((id) => ![PAD, BOS, EOS].includes(id));
        return shown.length ? this.tokenizer.decode(shown) : "";
    }
}
