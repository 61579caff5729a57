/* The tensors of a safetensors file, checked, and left where they lie.

   8 bytes   length of the header, lowest byte first
   header    {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {...}}
   data      which the offsets count from

   Here all are vectors and matrices of float32, whose data follow each other without gaps in the order of the header,
   as the library `safetensors` writes them. */

#include "loading.h"

enum {
    LONGEST_HEADER = 10000000, /* bytes; a tensor takes about 100 */
    MOST_TENSORS = 8192        /* every two names are compared */
};

#define AGAIN "; copy the run's file again"

typedef struct {
    json header;
    const char *data;
    count size; /* of the data */
} parts;

static int divide(const char *file, count size, parts *p, char *fault)
{
    const count most = least(size - 8, LONGEST_HEADER);
    uint64_t length = 0;
    if (size < 8)
        return explain(fault, "at least 8 bytes were expected, found %n" AGAIN, size);
    for (int i = 7; i >= 0; i--)
        length = length << 8 | (unsigned char)file[i];
    if (length > (uint64_t)most)
        return explain(fault, "a header of at most %n bytes was expected, found more" AGAIN, most);
    *p = (parts){{file + 8, file + 8 + length}, file + 8 + length, size - 8 - (count)length};
    if (!json_valid(p->header) || json_kind(p->header) != '{')
        return explain(fault, "an object of JSON was expected as the header, found none" AGAIN);
    if (length % sizeof(float))
        return explain(fault, "a header of a multiple of 4 bytes was expected, found %n" AGAIN, (count)length);
    return 1;
}

/* The name of the tensor after the entry `last`, or of the first one. */
static json name_after(json header, json last)
{
    json key = last.at ? json_next(header, last) : json_first(header);
    while (json_equals(key, "__metadata__"))
        key = json_next(header, json_next(header, key));
    return key;
}

/* The number of counts in an array of up to two, which go to `to`; -1 if it is another value. */
static int read_counts(json array, count to[2])
{
    int number = 0;
    for (json item = json_first(array); item.at; item = json_next(array, item)) {
        const count found = json_count(item);
        if (number == 2 || found < 0)
            return -1;
        to[number++] = found;
    }
    return json_kind(array) == '[' ? number : -1;
}

static int read_shape(json name, json entry, tensor *t, char *fault)
{
    const json dtype = json_field(entry, "dtype"), shape = json_field(entry, "shape");
    count sizes[2] = {0};
    const int axes = read_counts(shape, sizes);
    if (!json_equals(dtype, "F32"))
        return explain(fault, "the dtype F32 was expected of %j, found %j; save it as float32", name, dtype);
    if (axes < 1 || sizes[0] == 0 || sizes[axes - 1] == 0)
        return explain(fault, "a shape of one or two sizes was expected of %j, found %j" AGAIN, name, shape);
    t->rows = sizes[0], t->columns = sizes[1];
    return 1;
}

/* The place of a tensor's data, which begin at `*offset`, their end from then on. */
static int read_data(const parts *p, json name, json entry, count *offset, tensor *t, char *fault)
{
    const json found = json_field(entry, "data_offsets");
    const count room = (p->size - *offset) / (count)sizeof(float), columns = t->columns ? t->columns : 1;
    count offsets[2];
    if (t->rows > room / columns)
        return explain(fault, "data for the shape %t were expected, found %n bytes" AGAIN, t, p->size - *offset);
    const count end = *offset + t->rows * columns * (count)sizeof(float);
    if (read_counts(found, offsets) != 2 || offsets[0] != *offset || offsets[1] != end)
        return explain(fault, "data_offsets [%n, %n] were expected of %j, found %j" AGAIN, *offset, end, name, found);
    t->at = (float *)(p->data + *offset); /* which nobody writes to */
    *offset = end;
    return 1;
}

/* Store the name of table[index] at `at`. Returns its end, NULL if an earlier tensor has it or it has a zero inside. */
static char *store_name(json name, char *at, tensor *table, count index, char *fault)
{
    const count length = json_string(name, at, name.end - name.at);
    int taken = 0;
    at[length] = 0;
    for (count i = 0; i < index; i++)
        taken |= strcmp(table[i].name, at) == 0;
    if (taken || (count)strlen(at) != length) {
        explain(fault, "one tensor of the name %j was expected, found %s" AGAIN, name, taken ? "two" : "a zero inside");
        return NULL;
    }
    table[index].name = at;
    return at + length + 1;
}

/* Whether no number is infinite or NaN: their exponents have all bits set. */
static int is_finite(count n, const float *x)
{
    int infinite = 0;
    for (count i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        infinite |= (bits & 0x7F800000) == 0x7F800000;
    }
    return !infinite;
}
/* The tensors of a file of `size` bytes at a multiple of 4, as a table at `memory`, behind which their names are.
   Returns the bytes that both take, 0 if there is a fault. With `memory` NULL the entries are only counted. */
count read_tensors(const char *file, count size, char *memory, count *number, char *fault)
{
    const json none = {NULL, NULL};
    count bytes = 0, offset = 0;
    parts p = {0};
    if (!divide(file, size, &p, fault))
        return 0;
    *number = 0;
    for (json name = name_after(p.header, none); name.at; name = name_after(p.header, json_next(p.header, name))) {
        bytes += (count)sizeof(tensor) + json_string(name, NULL, 0) + 1;
        *number += 1;
    }
    if (*number < 1 || *number > MOST_TENSORS)
        return explain(fault, "1 to %n tensors were expected, found %n" AGAIN, (count)MOST_TENSORS, *number);
    if (!memory)
        return bytes;
    tensor *table = (tensor *)memory, *t = table;
    char *at = memory + *number * (count)sizeof(tensor);
    for (json name = name_after(p.header, none); t < table + *number; t++) {
        const json entry = json_next(p.header, name);
        at = store_name(name, at, table, t - table, fault);
        if (!at || !read_shape(name, entry, t, fault) || !read_data(&p, name, entry, &offset, t, fault))
            return 0;
        if (!is_finite(t->rows * (t->columns ? t->columns : 1), t->at))
            return explain(fault, "finite numbers were expected in %j, found NaN or infinity" AGAIN, name);
        name = name_after(p.header, entry);
    }
    if (offset != p.size)
        return explain(fault, "%n bytes of data were expected, found %n" AGAIN, offset, p.size);
    return bytes;
}
