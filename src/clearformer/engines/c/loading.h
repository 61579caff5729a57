/* A run's files, which may hold anything, as a model. */

#ifndef LOADING_H
#define LOADING_H

#include "fault.h"
#include "json.h"
#include "transformer.h"

/* loading.c */
count open_model(const char *configuration, count length, const char *weights, count size, char *memory, char *fault);
int check_tokens(const model *m, const int32_t *tokens, count n, count past, char *fault);
int check_segments(const model *m, const int32_t *segments, count n, char *fault);

/* configuration.c */
int read_configuration(json text, config *c, char *fault);

/* safetensors.c */
count read_tensors(const char *file, count size, char *memory, count *number, char *fault);

#endif
