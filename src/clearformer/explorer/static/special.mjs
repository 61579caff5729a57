/* Tokens that mean something by themselves, as clearformer/data/tokenizers.py has them. */

export const EOS = 2, UNK = 3, MASK = 4;
