/*
 * json_read.h - a strict reader for the JSON a replica answers.
 *
 * A document is read as a whole into an array of nodes in document order: a
 * container is followed by its contents, a member's name by its value. Ids
 * are u64 and exact, which is why no general library is used.
 *
 * Invariants of a document that was read
 *   1. It is RFC 8259 JSON in UTF-8, at most JSON_READ_DEPTH_MAX containers
 *      deep and of at most JSON_READ_NODES_MAX nodes, without trailing text.
 *   2. No object has two members of one name, however they are escaped.
 *   3. nodes[i].next is the index behind the last node of value i.
 *
 * Threads: none of its own. Memory: the document points into the text, which
 * must outlive it; 32 bytes a node, which are kept for the next text.
 */
#ifndef CALLSIGN_CLIENT_JSON_READ_H
#define CALLSIGN_CLIENT_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    JSON_READ_DEPTH_MAX = 8,
    JSON_READ_NODES_MAX = 16384, /* 1000 entries of a list take about 11,000 */
    JSON_READ_NONE = 0,          /* no node: the root is nobody's member */
};

enum json_read_type {
    JSON_READ_NULL,
    JSON_READ_FALSE,
    JSON_READ_TRUE,
    JSON_READ_NUMBER,
    JSON_READ_STRING,
    JSON_READ_ARRAY,
    JSON_READ_OBJECT,
};

struct json_read_node {
    enum json_read_type type;
    bool escaped; /* a string that has escapes */
    unsigned next;
    const char *text; /* a string's without its quotes, else all of it */
    size_t len;
};

/* All zero: no document. */
struct json_read {
    unsigned count;
    unsigned cap;
    struct json_read_node *nodes;
};

/* Whether the n bytes are a document; on false, which want of memory is too,
 * it has no nodes. */
bool json_read(const char *text, size_t n, struct json_read *doc);
void json_read_fini(struct json_read *doc);

/* The value of a member; JSON_READ_NONE if `object` is no object or has none
 * of that name, which is written without escapes. */
unsigned json_read_member(const struct json_read *doc, unsigned object, const char *name);

/* The first element of an array and the one behind `element`; JSON_READ_NONE
 * at the end, or if `array` is no array. */
unsigned json_read_first(const struct json_read *doc, unsigned array);
unsigned json_read_after(const struct json_read *doc, unsigned array, unsigned element);

/*
 * The value of a node, given as JSON_READ_NONE too. False, and the result
 * untouched, if the node is none, of another type, or does not fit: an
 * integer beyond 0 to 2^64-1 or written with a sign, a fraction or an
 * exponent; a string that is longer than size - 1 bytes or holds a NUL.
 */
bool json_read_u64(const struct json_read *doc, unsigned node, uint64_t *ret_value);
bool json_read_bool(const struct json_read *doc, unsigned node, bool *ret_value);
bool json_read_string(const struct json_read *doc, unsigned node, char *ret_string, size_t size);

#endif
