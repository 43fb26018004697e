/*
 * token.h - bearer tokens: a file of hashes, and who may do what.
 *
 * One line a token, made by `callsignd token new`:
 *
 *     NAME ROLE SHA256 [env=ID,ID...] [node=ID]
 *
 * NAME is for logs; several tokens may share one, while one replaces another.
 * ROLE is metrics, read, write or admin, each of which includes those before
 * it. SHA256 are 64 hex digits over the token's text. Empty lines, and lines
 * that begin with #, say nothing.
 *
 * Invariants
 *   1. No token is kept, only its hash. Tokens are 256 random bits, so that a
 *      fast hash without salt is enough: there is nothing to guess.
 *   2. What a hash is compared with takes the same time whether they differ
 *      early or late. Where to look is found by the hash's first bytes, which
 *      tell nothing about any token.
 *   3. An admin is never bound.
 *
 * Threads: a struct tokens belongs to one thread at a time. Memory: some 250
 * bytes a token, TOKENS_MAX of them.
 */
#ifndef CALLSIGN_HTTP_TOKEN_H
#define CALLSIGN_HTTP_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* In rising order; a token's role is one of METRICS to ADMIN. */
enum role {
    ROLE_NOBODY, /* a route that names no role is closed while there are tokens */
    ROLE_OPEN,   /* a route that needs no token */
    ROLE_METRICS,
    ROLE_READ,
    ROLE_WRITE,
    ROLE_ADMIN,
};

enum {
    TOKENS_MAX = 10000,
    TOKEN_NAME_MAX = 64,   /* bytes without NUL, letters, digits and "._@-" */
    TOKEN_ENVS_MAX = 16,   /* environments a token may be bound to */
    TOKEN_DIGEST_LEN = 32, /* SHA-256 */
    TOKEN_LINE_MAX = 1024,
};

struct token {
    uint8_t digest[TOKEN_DIGEST_LEN];
    enum role role;
    char name[TOKEN_NAME_MAX + 1];
    bool node_bound;
    uint64_t node_id;
    unsigned envs_count; /* 0: all environments */
    uint64_t envs[TOKEN_ENVS_MAX];
};

/* Bound to environments or to a node. */
bool token_bound(const struct token *t);
/* Whether it may see and change what is in this environment. */
bool token_has_env(const struct token *t, uint64_t env_id);

struct tokens;

/*
 * Reads the file of tokens, which must not be open to others (file.h).
 * ERR_CONFIG: it is, or a line is malformed; errmsg names file and line. The
 * caller holds the result once.
 */
enum err tokens_load(const char *path, char *errmsg, size_t errmsg_len, struct tokens **ret_tokens);

/* Holders are counted; the last release frees. NULL is nothing. */
struct tokens *tokens_hold(struct tokens *t);
void tokens_release(struct tokens *t);

size_t tokens_count(const struct tokens *t);

/* The token whose text these bytes are, or NULL; valid while `t` is held. */
const struct token *tokens_find(const struct tokens *t, const char *text, size_t len);

/* The same token of an earlier file, as it is now, or NULL. */
const struct token *tokens_find_again(const struct tokens *t, const struct token *earlier);

/*
 * Makes a token: appends its line, of which `words` are NAME ROLE [BINDING...],
 * to the file at `path`, which is made with mode 0600 if it is missing, and
 * prints its text to `out`. ERR_CONFIG: a word is malformed; ERR_SYSTEM: the
 * file cannot be written. errmsg says what.
 */
enum err token_new(const char *path, char *const *words, FILE *out, char *errmsg,
                   size_t errmsg_len);

#endif
