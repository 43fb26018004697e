#include "client/local_table.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

void local_table_init(struct local_table *t)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    *t = (struct local_table){.random = ((uint64_t)ts.tv_nsec << 32 | (uint64_t)ts.tv_sec) | 1};
}

/* Rotates to the right until there is no left child: no stack, whatever the shape. */
void local_table_fini(struct local_table *t)
{
    struct local_name *n = t->root;

    while (n != NULL) {
        struct local_name *left = n->left;

        if (left != NULL) {
            n->left = left->right;
            left->right = n;
            n = left;
        } else {
            struct local_name *right = n->right;

            free(n);
            n = right;
        }
    }
    t->root = NULL;
    t->count = 0;
}

/* Marsaglia's xorshift64 (2003), section 3, the triple 13, 7, 17. */
static uint64_t next_random(struct local_table *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

static int compare(uint64_t env_id, const char *name, const struct local_name *n)
{
    if (env_id != n->env_id) {
        return env_id < n->env_id ? -1 : 1;
    }
    return strcmp(name, n->name);
}

struct local_name *local_table_find(const struct local_table *t, uint64_t env_id, const char *name)
{
    struct local_name *n = t->root;

    while (n != NULL) {
        int order = compare(env_id, name, n);

        if (order == 0) {
            break;
        }
        n = order < 0 ? n->left : n->right;
    }
    return n;
}

struct local_name *local_table_seek(const struct local_table *t, uint64_t env_id, const char *name,
                                    bool behind)
{
    struct local_name *n = t->root;
    struct local_name *best = NULL;

    while (n != NULL) {
        int order = compare(env_id, name, n);

        if (order < 0 || (order == 0 && !behind)) {
            best = n;
            n = n->left;
        } else {
            n = n->right;
        }
    }
    return best;
}

/* Splits the tree under *n at a key that it does not hold. */
static void split(struct local_name *n, const struct local_name *at, struct local_name **ret_left,
                  struct local_name **ret_right)
{
    while (n != NULL) {
        if (compare(at->env_id, at->name, n) < 0) {
            *ret_right = n;
            ret_right = &n->left;
            n = n->left;
        } else {
            *ret_left = n;
            ret_left = &n->right;
            n = n->right;
        }
    }
    *ret_left = NULL;
    *ret_right = NULL;
}

struct local_name *local_table_insert(struct local_table *t, uint64_t env_id, const char *name)
{
    size_t len = strlen(name);
    struct local_name *n = calloc(1, sizeof(*n) + len + 1);
    struct local_name **at = &t->root;

    if (n == NULL) {
        return NULL;
    }
    n->env_id = env_id;
    memcpy(n->name, name, len + 1);
    n->priority = next_random(t);
    while (*at != NULL && (*at)->priority >= n->priority) {
        at = compare(env_id, name, *at) < 0 ? &(*at)->left : &(*at)->right;
    }
    split(*at, n, &n->left, &n->right);
    *at = n;
    t->count++;
    return n;
}

/* All of `left` is before all of `right`. */
static void join(struct local_name *left, struct local_name *right, struct local_name **ret_tree)
{
    while (left != NULL && right != NULL) {
        if (left->priority >= right->priority) {
            *ret_tree = left;
            ret_tree = &left->right;
            left = left->right;
        } else {
            *ret_tree = right;
            ret_tree = &right->left;
            right = right->left;
        }
    }
    *ret_tree = left != NULL ? left : right;
}

void local_table_remove(struct local_table *t, struct local_name *n)
{
    struct local_name **at = &t->root;

    while (*at != n) {
        at = compare(n->env_id, n->name, *at) < 0 ? &(*at)->left : &(*at)->right;
    }
    join(n->left, n->right, at);
    free(n);
    t->count--;
}
