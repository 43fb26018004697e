#include "http/token.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/file.h"
#include "base/mem.h"
#include "http/decimal.h"

enum {
    SECRET_BYTES = 32,
    WORDS_MAX = 5, /* name, role, hash and two bindings */
};

/* So that a token is told from other text, by people and by scanners. */
#define TEXT_PREFIX "callsign_"

struct tokens {
    unsigned holders;
    size_t count;
    struct token *at; /* in order of their digests */
};

static const char *const roles[] = {[ROLE_METRICS] = "metrics",
                                    [ROLE_READ] = "read",
                                    [ROLE_WRITE] = "write",
                                    [ROLE_ADMIN] = "admin"};

static void hash(const char *text, size_t len, uint8_t ret_digest[TOKEN_DIGEST_LEN])
{
    CHECK(gnutls_hash_fast(GNUTLS_DIG_SHA256, text, len, ret_digest) == 0);
}

/* --- One line --------------------------------------------------------------- */

static bool read_name(const char *word, struct token *t)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._@-";
    size_t len = strlen(word);

    if (len == 0 || len > TOKEN_NAME_MAX || strspn(word, allowed) != len) {
        return false;
    }
    memcpy(t->name, word, len + 1);
    return true;
}

static bool read_role(const char *word, struct token *t)
{
    for (int i = ROLE_METRICS; i <= ROLE_ADMIN; i++) {
        if (strcmp(word, roles[i]) == 0) {
            t->role = (enum role)i;
            return true;
        }
    }
    return false;
}

static bool read_digest(const char *word, struct token *t)
{
    if (strlen(word) != (size_t)TOKEN_DIGEST_LEN * 2) {
        return false;
    }
    for (size_t i = 0; i < (size_t)TOKEN_DIGEST_LEN * 2; i++) {
        char c = word[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 16;

        if (digit > 15) {
            return false;
        }
        t->digest[i / 2] = (uint8_t)(t->digest[i / 2] << 4 | digit);
    }
    return true;
}

static bool read_envs(const char *list, struct token *t)
{
    if (t->envs_count != 0) {
        return false;
    }
    for (;;) {
        size_t len = strcspn(list, ",");

        if (t->envs_count == TOKEN_ENVS_MAX || !decimal_parse(list, len, &t->envs[t->envs_count])) {
            return false;
        }
        t->envs_count++;
        if (list[len] == '\0') {
            return true;
        }
        list += len + 1;
    }
}

static bool read_binding(const char *word, struct token *t)
{
    if (strncmp(word, "env=", 4) == 0) {
        return read_envs(word + 4, t);
    }
    if (strncmp(word, "node=", 5) == 0 && !t->node_bound) {
        t->node_bound = true;
        return decimal_parse(word + 5, strlen(word + 5), &t->node_id);
    }
    return false;
}

/* Cuts a line into its words, the last of which is followed by NULL; false:
 * too many. */
static bool cut(char *line, char *words[WORDS_MAX + 1])
{
    unsigned n = 0;

    for (;;) {
        line += strspn(line, " \t\r");
        if (*line == '\0') {
            words[n] = NULL;
            return true;
        }
        if (n == WORDS_MAX) {
            return false;
        }
        words[n++] = line;
        line += strcspn(line, " \t\r");
        if (*line != '\0') {
            *line++ = '\0';
        }
    }
}

/* NAME ROLE [SHA256] [BINDING...]; what is wrong with it, or NULL. */
static const char *read_words(char *const *words, bool with_digest, struct token *t)
{
    memset(t, 0, sizeof(*t));
    if (words[0] == NULL || !read_name(words[0], t)) {
        return "the first word is a name, of 1 to 64 letters, digits and any of ._@-";
    }
    if (words[1] == NULL || !read_role(words[1], t)) {
        return "the second word is a role: metrics, read, write or admin";
    }
    words += 2;
    if (with_digest) {
        if (words[0] == NULL || !read_digest(words[0], t)) {
            return "the third word is a SHA-256, of 64 hex digits";
        }
        words++;
    }
    for (; *words != NULL; words++) {
        if (!read_binding(*words, t)) {
            return "a binding is env=ID,ID... or node=ID, each once, with at most 16 environments";
        }
    }
    if (t->role == ROLE_ADMIN && token_bound(t)) {
        return "an admin cannot be bound to environments or a node";
    }
    return NULL;
}

bool token_bound(const struct token *t)
{
    return t->node_bound || t->envs_count != 0;
}

bool token_has_env(const struct token *t, uint64_t env_id)
{
    for (unsigned i = 0; i < t->envs_count; i++) {
        if (t->envs[i] == env_id) {
            return true;
        }
    }
    return t->envs_count == 0;
}

/* --- The file --------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct token *)a)->digest, ((const struct token *)b)->digest,
                  TOKEN_DIGEST_LEN);
}

/* What is wrong with a line, or NULL. Adds its token, if it has one. */
static const char *add_line(struct tokens *t, char *line)
{
    char *words[WORDS_MAX + 1];
    struct token token;
    const char *why;

    line += strspn(line, " \t\r");
    if (*line == '\0' || *line == '#') {
        return NULL;
    }
    if (!cut(line, words)) {
        return "a line is NAME ROLE SHA256 [env=ID,ID...] [node=ID]";
    }
    why = read_words(words, true, &token);
    if (why != NULL) {
        return why;
    }
    if (t->count == TOKENS_MAX) {
        return "there are more than 10000 tokens";
    }
    if ((t->count & (t->count - 1)) == 0) { /* full at each power of two */
        t->at = mem_resize(t->at, t->count == 0 ? 1 : t->count * 2, sizeof(t->at[0]));
    }
    t->at[t->count++] = token;
    return NULL;
}

static enum err parse(struct tokens *t, struct file_content *f, const char *path, char *errmsg,
                      size_t errmsg_len)
{
    const char *why = strlen(f->bytes) == f->len ? NULL : "holds a NUL byte";
    unsigned line = 1;
    char *end;

    for (char *at = f->bytes; why == NULL && at < f->bytes + f->len; at = end + 1) {
        end = strchrnul(at, '\n');
        *end = '\0';
        why = add_line(t, at);
        line += why == NULL;
    }
    if (why != NULL) {
        (void)snprintf(errmsg, errmsg_len, "%s:%u: %s", path, line, why);
        return ERR_CONFIG;
    }
    if (t->count > 0) {
        qsort(t->at, t->count, sizeof(t->at[0]), compare);
    }
    for (size_t i = 1; i < t->count; i++) {
        if (compare(&t->at[i - 1], &t->at[i]) == 0) {
            (void)snprintf(errmsg, errmsg_len, "%s: %s and %s are the same token", path,
                           t->at[i - 1].name, t->at[i].name);
            return ERR_CONFIG;
        }
    }
    return ERR_OK;
}

enum err tokens_load(const char *path, char *errmsg, size_t errmsg_len, struct tokens **ret_tokens)
{
    struct file_content f;
    struct tokens *t;
    enum err err = file_read(path, true, &f, errmsg, errmsg_len);

    if (err != ERR_OK) {
        return err;
    }
    t = mem_zalloc(1, sizeof(*t));
    t->holders = 1;
    err = parse(t, &f, path, errmsg, errmsg_len);
    file_free(&f);
    if (err != ERR_OK) {
        tokens_release(t);
        return err;
    }
    *ret_tokens = t;
    return ERR_OK;
}

struct tokens *tokens_hold(struct tokens *t)
{
    if (t != NULL) {
        t->holders++;
    }
    return t;
}

void tokens_release(struct tokens *t)
{
    if (t != NULL && --t->holders == 0) {
        free(t->at);
        free(t);
    }
}

size_t tokens_count(const struct tokens *t)
{
    return t->count;
}

/* --- Looking one up --------------------------------------------------------- */

static uint32_t head_of(const uint8_t digest[TOKEN_DIGEST_LEN])
{
    return (uint32_t)digest[0] << 24 | (uint32_t)digest[1] << 16 | (uint32_t)digest[2] << 8 |
           digest[3];
}

static const struct token *find(const struct tokens *t, const uint8_t digest[TOKEN_DIGEST_LEN])
{
    size_t low = 0, high = t->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (head_of(t->at[middle].digest) < head_of(digest)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    for (; low < t->count && head_of(t->at[low].digest) == head_of(digest); low++) {
        if (gnutls_memcmp(t->at[low].digest, digest, TOKEN_DIGEST_LEN) == 0) {
            return &t->at[low];
        }
    }
    return NULL;
}

const struct token *tokens_find(const struct tokens *t, const char *text, size_t len)
{
    uint8_t digest[TOKEN_DIGEST_LEN];

    hash(text, len, digest);
    return find(t, digest);
}

const struct token *tokens_find_again(const struct tokens *t, const struct token *earlier)
{
    return find(t, earlier->digest);
}

/* --- Making one ------------------------------------------------------------- */

/* TEXT_PREFIX and 43 characters of base64url (RFC 4648, 5). */
static void make_text(struct buf *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t secret[SECRET_BYTES + 1] = {0};

    CHECK(getrandom(secret, SECRET_BYTES, 0) == SECRET_BYTES);
    buf_put_string(out, TEXT_PREFIX);
    for (unsigned bit = 0; bit < SECRET_BYTES * 8; bit += 6) {
        unsigned pair = (unsigned)secret[bit / 8] << 8 | secret[bit / 8 + 1];

        buf_put_char(out, alphabet[pair >> (10 - bit % 8) & 63]);
    }
    explicit_bzero(secret, sizeof(secret));
}

static void make_line(char *const *words, const struct buf *text, struct buf *out)
{
    uint8_t digest[TOKEN_DIGEST_LEN];

    hash((const char *)text->data, text->len, digest);
    buf_printf(out, "%s %s ", words[0], words[1]);
    for (size_t i = 0; i < TOKEN_DIGEST_LEN; i++) {
        buf_printf(out, "%02x", digest[i]);
    }
    for (words += 2; *words != NULL; words++) {
        buf_printf(out, " %s", *words);
    }
    buf_put_char(out, '\n');
    CHECK(!out->overflow);
}

/* Whether the file ends within a line, as one that was edited may. */
static bool is_open_ended(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char last = '\n';

    return end > 0 && pread(fd, &last, 1, end - 1) == 1 && last != '\n';
}

/* One write: a reader sees the whole line or none of it. */
static bool append(const char *path, const struct buf *line)
{
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    bool done;

    if (fd < 0) {
        return false;
    }
    done = !is_open_ended(fd) || write(fd, "\n", 1) == 1;
    done = done && write(fd, line->data, line->len) == (ssize_t)line->len && fsync(fd) == 0;
    return close(fd) == 0 && done;
}

enum err token_new(const char *path, char *const *words, FILE *out, char *errmsg, size_t errmsg_len)
{
    struct token ignored;
    struct buf text, line;
    const char *why = read_words(words, false, &ignored);
    enum err err = ERR_OK;

    if (why != NULL) {
        (void)snprintf(errmsg, errmsg_len, "%s", why);
        return ERR_CONFIG;
    }
    buf_init(&text, TOKEN_LINE_MAX);
    buf_init(&line, TOKEN_LINE_MAX);
    make_text(&text);
    make_line(words, &text, &line);
    if (!append(path, &line)) {
        (void)snprintf(errmsg, errmsg_len, "%s: %s", path, strerror(errno));
        err = ERR_SYSTEM;
    } else if (fprintf(out, "%.*s\n", (int)text.len, (const char *)text.data) < 0 ||
               fflush(out) != 0) {
        (void)snprintf(errmsg, errmsg_len, "cannot write the token: %s", strerror(errno));
        err = ERR_SYSTEM;
    }
    buf_fini(&text);
    buf_fini(&line);
    return err;
}
