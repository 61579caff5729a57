/* The normalization forms NFC and NFD. */

#ifndef CANONICAL_H
#define CANONICAL_H

#include "json.h"

count put_canonical(const char *at, const char *end, int composes, char *to);

#endif
