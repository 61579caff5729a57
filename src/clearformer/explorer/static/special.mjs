/* Tokens that mean something by themselves, as clearformer/data/tokenizers.py has them. */

export const EOS = 2, UNK = 3, MASK = 4;
export const FIRST_NUMBER = MASK; /* in a vocabulary of numbers: that of 0, as clearformer/data/modular.py has it */
