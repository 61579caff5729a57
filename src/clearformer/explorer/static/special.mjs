/* Tokens that mean something by themselves, as clearformer/data/modular.py has them. */

export const FIRST_NUMBER = 4; /* in a vocabulary of numbers: that of 0 */
