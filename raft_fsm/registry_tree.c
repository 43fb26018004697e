#include "registry_tree.h"

#include <endian.h>
#include <string.h>

#include "base/check.h"
#include "registry_heap.h"

enum {
    /* Slots of a node. With 32 and 128 the speed is the same; 128 copies twice
     * as much for each change while a view is held. */
    FANOUT = 64,
    /* A node with fewer slots is merged with its neighbour or filled from it. */
    UNDERFULL = FANOUT / 4,
    /* What a merge may lead to: room is left, so that the next insertions do
     * not split it again. */
    MERGED_MAX = FANOUT * 3 / 4,
    /* 64 / 4 = 16 slots a node: 16^16 records. */
    DEPTH_MAX = 16,
    /* How many records ahead of the visited one a walk asks the memory for. */
    PREFETCH = 8,
};

/* `common` of a node that holds several environments: hints are their ids. */
enum { COMMON_NONE = -1 };

struct registry_node {
    uint64_t birth; /* first: registry_heap.h */
    uint16_t count;
    uint16_t height; /* 0: a leaf */
    int32_t common;  /* COMMON_NONE, or one environment and that many bytes of the names */
    uint64_t hints[FANOUT];
    struct record *records[FANOUT];
    struct registry_node *children[]; /* FANOUT, in inner nodes */
};

/* The way from the root (step 0) to a leaf. */
struct step {
    struct registry_node *node;
    unsigned at;
};

struct path {
    struct step steps[DEPTH_MAX];
    unsigned depth;
};

static size_t node_bytes(unsigned height)
{
    return sizeof(struct registry_node) + (height > 0 ? FANOUT * sizeof(void *) : 0);
}

static struct registry_node *make(struct registry_tree *t, unsigned height, uint64_t birth)
{
    struct registry_node *n = registry_heap_alloc(t->heap, node_bytes(height));

    n->birth = birth;
    n->count = 0;
    n->height = (uint16_t)height;
    n->common = COMMON_NONE;
    return n;
}

/* --- Keys: the common part and the hints ------------------------------ */

/* What the two keys share, in the terms of registry_node.common. */
static int common_part(const struct record *a, const struct record *b)
{
    int n = a->name_len < b->name_len ? a->name_len : b->name_len;
    int i = 0;

    if (a->env_id != b->env_id) {
        return COMMON_NONE;
    }
    while (i < n && a->name[i] == b->name[i]) {
        i++;
    }
    return i;
}

/* The 8 bytes behind the common part as a number that orders like them.
 * Missing bytes are 0, which no name contains. */
static uint64_t hint_of(const struct record_key *k, int common)
{
    uint64_t bytes = 0;
    size_t left;

    if (common == COMMON_NONE) {
        return k->env_id;
    }
    left = k->name_len - (size_t)common;
    if (left >= sizeof bytes) {
        memcpy(&bytes, k->name + common, sizeof bytes);
    } else {
        memcpy(&bytes, k->name + common, left);
    }
    return be64toh(bytes);
}

/* Finds the longest common part; the slots are in order, so that of the
 * outermost two is that of all. */
static void renew_hints(struct registry_node *n)
{
    CHECK(n->count > 0);
    n->common = common_part(n->records[0], n->records[n->count - 1]);
    for (unsigned i = 0; i < n->count; i++) {
        struct record_key k = record_key(n->records[i]);

        n->hints[i] = hint_of(&k, n->common);
    }
}

/* Slot i, whose place among the others is right, gets this record. */
static void set_record(struct registry_node *n, unsigned i, struct record *r)
{
    struct record_key k = record_key(r);

    n->records[i] = r;
    if (n->count == 1 || common_part(r, n->records[i == 0 ? 1 : 0]) < n->common) {
        renew_hints(n);
    } else {
        n->hints[i] = hint_of(&k, n->common);
    }
}

/* Whether k lies before (-1), among (0) or behind (1) all keys that have the
 * common part of the node. */
static int compare_common(const struct registry_node *n, const struct record_key *k)
{
    const struct record *first = n->records[0];
    size_t common;
    int order;

    if (n->common == COMMON_NONE) {
        return 0;
    }
    if (k->env_id != first->env_id) {
        return k->env_id < first->env_id ? -1 : 1;
    }
    common = (size_t)n->common;
    order = memcmp(k->name, first->name, k->name_len < common ? k->name_len : common);
    if (order != 0) {
        return order < 0 ? -1 : 1;
    }
    return k->name_len < common ? -1 : 0;
}

/* The first slot that is not below k, and whether it is k. */
static unsigned search(const struct registry_node *n, const struct record_key *k, bool *ret_found)
{
    unsigned low = 0, high = n->count;
    uint64_t hint;
    int order = high > 0 ? compare_common(n, k) : 0;

    *ret_found = false;
    if (order != 0 || high == 0) {
        return order < 0 ? 0 : high;
    }
    hint = hint_of(k, n->common);
    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (hint != n->hints[middle]) {
            order = hint < n->hints[middle] ? -1 : 1;
        } else {
            order = record_compare(k, n->records[middle]);
        }
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* --- Slots -------------------------------------------------------------- */

static void move_slots(struct registry_node *to, unsigned to_at, const struct registry_node *from,
                       unsigned from_at, unsigned count)
{
    memmove(to->hints + to_at, from->hints + from_at, count * sizeof to->hints[0]);
    memmove(to->records + to_at, from->records + from_at, count * sizeof(void *));
    if (to->height > 0) {
        memmove(to->children + to_at, from->children + from_at, count * sizeof(void *));
    }
}

static void insert_slot(struct registry_node *n, unsigned at, struct record *r,
                        struct registry_node *child)
{
    CHECK(n->count < FANOUT && at <= n->count);
    move_slots(n, at + 1, n, at, n->count - at);
    n->count++;
    if (n->height > 0) {
        n->children[at] = child;
    }
    set_record(n, at, r);
}

static void remove_slot(struct registry_node *n, unsigned at)
{
    CHECK(at < n->count);
    move_slots(n, at, n, at + 1, n->count - at - 1);
    n->count--;
}

/* --- Ways --------------------------------------------------------------- */

/* The node in *where, in a copy if a view may see it. */
static struct registry_node *own(struct registry_tree *t, struct registry_node **where,
                                 uint64_t birth)
{
    struct registry_node *old = *where;

    if (registry_heap_shared(t->heap, old->birth)) {
        *where = registry_heap_alloc(t->heap, node_bytes(old->height));
        memcpy(*where, old, node_bytes(old->height));
        (*where)->birth = birth;
        registry_heap_retire(t->heap, old);
    }
    return *where;
}

/* Makes the way to the leaf where k is or belongs the writer's own. */
static bool descend(struct registry_tree *t, const struct record_key *k, uint64_t birth,
                    struct path *ret_path)
{
    struct registry_node **where = &t->root;
    struct step *s = ret_path->steps;
    bool found;

    for (;; s++) {
        CHECK(s < ret_path->steps + DEPTH_MAX);
        s->node = own(t, where, birth);
        s->at = search(s->node, k, &found);
        if (s->node->height == 0) {
            ret_path->depth = (unsigned)(s - ret_path->steps) + 1;
            return found;
        }
        if (!found && s->at > 0) {
            s->at--;
        }
        where = &s->node->children[s->at];
    }
}

/* The same for the place behind the last record. */
static void descend_last(struct registry_tree *t, uint64_t birth, struct path *ret_path)
{
    struct registry_node **where = &t->root;
    struct step *s = ret_path->steps;

    for (;; s++) {
        CHECK(s < ret_path->steps + DEPTH_MAX);
        s->node = own(t, where, birth);
        s->at = s->node->count;
        if (s->node->height == 0) {
            ret_path->depth = (unsigned)(s - ret_path->steps) + 1;
            return;
        }
        s->at--;
        where = &s->node->children[s->at];
    }
}

/* The first record of the node at `level` is another: so it is in the slots
 * above that name it (invariant 3). */
static void renew_first(struct path *p, unsigned level)
{
    struct record *first = p->steps[level].node->records[0];

    while (level-- > 0) {
        struct step *s = &p->steps[level];

        set_record(s->node, s->at, first);
        if (s->at != 0) {
            return;
        }
    }
}

/* Whether the place at `level` is behind everything in the tree. */
static bool at_end(const struct path *p, unsigned level)
{
    if (p->steps[level].at != p->steps[level].node->count) {
        return false;
    }
    for (unsigned i = 0; i < level; i++) {
        if (p->steps[i].at + 1 != p->steps[i].node->count) {
            return false;
        }
    }
    return true;
}

/* --- Insertion ---------------------------------------------------------- */

static void grow_root(struct registry_tree *t, struct registry_node *right, uint64_t birth)
{
    struct registry_node *left = t->root;
    struct registry_node *root = make(t, left->height + 1U, birth);

    insert_slot(root, 0, left->records[0], left);
    insert_slot(root, 1, right->records[0], right);
    t->root = root;
}

/*
 * Takes the upper half of a full node into a new one; nothing at all where
 * the insertion goes on at the end of the tree, so that names that arrive in
 * order leave full nodes behind. Anywhere else an uneven split would let
 * falling names build nodes of one slot.
 */
static struct registry_node *split(struct registry_tree *t, const struct path *p, unsigned level,
                                   uint64_t birth)
{
    struct registry_node *left = p->steps[level].node;
    struct registry_node *right = make(t, left->height, birth);
    unsigned cut = at_end(p, level) ? FANOUT : FANOUT / 2;

    move_slots(right, 0, left, cut, FANOUT - cut);
    right->count = (uint16_t)(FANOUT - cut);
    left->count = (uint16_t)cut;
    if (cut < FANOUT) {
        renew_hints(left);
        renew_hints(right);
    }
    return right;
}

static void insert_at(struct registry_tree *t, struct path *p, struct record *r)
{
    const uint64_t birth = r->revision;
    struct registry_node *child = NULL;
    struct registry_node *right;

    for (unsigned level = p->depth - 1;; level--) {
        struct step *s = &p->steps[level];

        if (s->node->count < FANOUT) {
            insert_slot(s->node, s->at, r, child);
            if (s->at == 0) {
                renew_first(p, level);
            }
            return;
        }
        right = split(t, p, level, birth);
        if (s->at > s->node->count || right->count == 0) {
            insert_slot(right, s->at - s->node->count, r, child);
        } else {
            insert_slot(s->node, s->at, r, child);
            if (s->at == 0) {
                renew_first(p, level);
            }
        }
        if (level == 0) {
            grow_root(t, right, birth);
            return;
        }
        r = right->records[0];
        child = right;
        p->steps[level - 1].at++;
    }
}

/* --- Removal ------------------------------------------------------------ */

static void shrink_root(struct registry_tree *t, uint64_t birth)
{
    struct registry_node *old = t->root;

    while (old->height > 0 && old->count <= 1) {
        t->root = old->count == 1 ? old->children[0] : make(t, 0, birth);
        registry_heap_retire(t->heap, old);
        old = t->root;
    }
}

/* Evens out two neighbours. */
static void balance(struct registry_node *a, struct registry_node *b)
{
    unsigned total = a->count + b->count;
    unsigned half = total / 2;

    if (a->count < half) {
        unsigned n = half - a->count;

        move_slots(a, a->count, b, 0, n);
        move_slots(b, 0, b, n, b->count - n);
    } else {
        unsigned n = a->count - half;

        move_slots(b, n, b, 0, b->count);
        move_slots(b, 0, a, half, n);
    }
    a->count = (uint16_t)half;
    b->count = (uint16_t)(total - half);
    renew_hints(a);
    renew_hints(b);
}

/*
 * Merges the underfull node at `level` with a neighbour or fills it from
 * there. True when a slot of the node above, its step, has to go.
 */
static bool refill(struct registry_tree *t, struct path *p, unsigned level, uint64_t birth)
{
    struct step *here = &p->steps[level];
    struct step *above = &p->steps[level - 1];
    struct registry_node **children = above->node->children;
    struct registry_node *a, *b;

    if (above->node->count == 1) {
        /* Only the end of the tree has nodes with a single child. */
        if (here->node->count > 0) {
            return false;
        }
        registry_heap_retire(t->heap, here->node);
        return true;
    }
    above->at -= above->at + 1 == above->node->count;
    a = own(t, &children[above->at], birth);
    b = own(t, &children[above->at + 1], birth);
    if (a->count + b->count <= MERGED_MAX) {
        move_slots(a, a->count, b, 0, b->count);
        a->count = (uint16_t)(a->count + b->count);
        renew_hints(a);
        registry_heap_retire(t->heap, b);
        b = NULL;
    } else {
        balance(a, b);
    }
    here->node = a;
    renew_first(p, level);
    above->at++;
    if (b != NULL) {
        here->node = b;
        renew_first(p, level);
    }
    return b == NULL;
}

static void remove_at(struct registry_tree *t, struct path *p, uint64_t birth)
{
    for (unsigned level = p->depth - 1;; level--) {
        struct step *s = &p->steps[level];

        remove_slot(s->node, s->at);
        if (level == 0) {
            break;
        }
        if (s->at == 0 && s->node->count > 0) {
            renew_first(p, level);
        }
        if (s->node->count >= UNDERFULL || !refill(t, p, level, birth)) {
            break;
        }
    }
    shrink_root(t, birth);
}

/* --- The life of a tree -------------------------------------------------- */

void registry_tree_init(struct registry_tree *t, struct registry_heap *heap)
{
    t->heap = heap;
    t->root = make(t, 0, 0);
}

void registry_tree_insert(struct registry_tree *t, struct record *r)
{
    struct record_key k = record_key(r);
    struct path p;

    CHECK(!descend(t, &k, r->revision, &p));
    insert_at(t, &p, r);
}

void registry_tree_append(struct registry_tree *t, struct record *r)
{
    struct path p;

    descend_last(t, r->revision, &p);
    insert_at(t, &p, r);
}

void registry_tree_replace(struct registry_tree *t, struct record *r)
{
    struct record_key k = record_key(r);
    struct path p;
    struct step *leaf;

    CHECK(descend(t, &k, r->revision, &p));
    leaf = &p.steps[p.depth - 1];
    leaf->node->records[leaf->at] = r;
    if (leaf->at == 0) {
        renew_first(&p, p.depth - 1);
    }
}

void registry_tree_remove(struct registry_tree *t, const struct record_key *k, uint64_t revision)
{
    struct path p;

    CHECK(descend(t, k, revision, &p));
    remove_at(t, &p, revision);
}

const struct record *registry_tree_last(const struct registry_tree *t)
{
    const struct registry_node *n = t->root;

    while (n->height > 0) {
        n = n->children[n->count - 1];
    }
    return n->count > 0 ? n->records[n->count - 1] : NULL;
}

/* Recursion is as deep as the tree. */
static bool walk(const struct registry_node *n, const struct record_key *from,
                 registry_tree_visit_cb visit, void *data)
{
    unsigned i = 0;
    bool found;

    if (from != NULL) {
        i = search(n, from, &found);
        i -= n->height > 0 && !found && i > 0;
    }
    for (; i < n->count; i++) {
        if (n->height > 0) {
            if (!walk(n->children[i], from, visit, data)) {
                return false;
            }
            from = NULL;
        } else {
            if (i + PREFETCH < n->count) {
                __builtin_prefetch(n->records[i + PREFETCH]);
            }
            if (!visit(data, n->records[i])) {
                return false;
            }
        }
    }
    return true;
}

void registry_tree_walk(const struct registry_node *root, const struct record_key *from,
                        registry_tree_visit_cb visit, void *data)
{
    walk(root, from, visit, data);
}

static void check_node(const struct registry_node *n, unsigned height, const struct record **last)
{
    CHECK(n->height == height && n->count > 0 && n->count <= FANOUT);
    for (unsigned i = 0; i < n->count; i++) {
        struct record_key k = record_key(n->records[i]);

        CHECK(common_part(n->records[0], n->records[i]) >= n->common);
        CHECK(n->hints[i] == hint_of(&k, n->common));
        if (height > 0) {
            const struct registry_node *child = n->children[i];

            CHECK(child->count > 0 && child->records[0] == n->records[i]);
            check_node(child, height - 1, last);
        } else {
            CHECK(*last == NULL || record_compare(&k, *last) > 0);
            *last = n->records[i];
        }
    }
}

void registry_tree_check(const struct registry_tree *t)
{
    const struct record *last = NULL;

    if (t->root->height > 0 || t->root->count > 0) {
        check_node(t->root, t->root->height, &last);
    }
}
