/*
 * list.h - an intrusive doubly linked list with a sentinel.
 *
 * A link that is in no list points to itself, so list_remove() may be called
 * on it again and list_linked() tells.
 */
#ifndef CALLSIGN_BASE_LIST_H
#define CALLSIGN_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

#define LIST_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->next = l;
    l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline bool list_linked(const struct list *link)
{
    return link->next != link;
}

static inline void list_push_back(struct list *l, struct list *link)
{
    link->prev = l->prev;
    link->next = l;
    l->prev->next = link;
    l->prev = link;
}

static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

/* Takes the first link out; NULL when the list is empty. */
static inline struct list *list_pop_front(struct list *l)
{
    struct list *link = l->next;

    if (link == l) {
        return NULL;
    }
    list_remove(link);
    return link;
}

/* Appends everything in `from` to `l` and leaves `from` empty. */
static inline void list_splice_back(struct list *l, struct list *from)
{
    if (list_empty(from)) {
        return;
    }
    from->next->prev = l->prev;
    l->prev->next = from->next;
    from->prev->next = l;
    l->prev = from->prev;
    list_init(from);
}

#endif
