/* What is wrong with a file or with what a caller gives: one sentence, with what was expected and what was found. */

#ifndef FAULT_H
#define FAULT_H

enum { FAULT_SIZE = 320 }; /* of a sentence and its zero */

int explain(char *fault, const char *sentence, ...);

#endif
