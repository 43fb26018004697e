#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/local.h"
#include "client/local_state.h"

/* The place where the claim hangs; at the list's end, where NULL hangs, if
 * there is none. */
static struct local_claim **find(struct local *l, uint64_t env_id, const char *name)
{
    struct local_claim **at = &l->claims;

    while (*at != NULL && ((*at)->env_id != env_id || strcmp((*at)->name, name) != 0)) {
        at = &(*at)->next;
    }
    return at;
}

static struct local_claim **find_id(struct local *l, const struct callsign_claimed *claimed)
{
    struct local_claim **at = &l->claims;
    uint64_t id = 0;

    (void)text_to_u64(claimed->id, strlen(claimed->id), &id); /* ids begin at 1 */
    while (*at != NULL && (*at)->id != id) {
        at = &(*at)->next;
    }
    return at;
}

static void end(struct local *l, struct local_claim **at)
{
    struct local_claim *claim = *at;

    *at = claim->next;
    free(claim);
    (void)pthread_cond_broadcast(&l->wake);
}

bool local_claim_is_held(const struct local *l, uint64_t env_id, const char *name)
{
    const struct local_claim *c = l->claims;

    while (c != NULL && (c->env_id != env_id || strcmp(c->name, name) != 0)) {
        c = c->next;
    }
    return c != NULL;
}

void local_claim_end(struct local *l, uint64_t env_id, const char *name)
{
    struct local_claim **at = find(l, env_id, name);

    if (*at != NULL) {
        end(l, at);
    }
}

void local_claim_expire(struct local *l, uint64_t now)
{
    struct local_claim **at = &l->claims;

    while (*at != NULL) {
        if (now >= (*at)->expires_ms) {
            end(l, at);
            continue;
        }
        l->expires_ms = (*at)->expires_ms < l->expires_ms ? (*at)->expires_ms : l->expires_ms;
        at = &(*at)->next;
    }
}

void local_claim_free(struct local *l)
{
    while (l->claims != NULL) {
        end(l, &l->claims);
    }
}

static void make_claim(struct local *l, const struct callsign_claim *wanted,
                       struct callsign_claimed *ret_claimed, struct callsign_answer *a)
{
    size_t len = strlen(wanted->name);
    struct local_claim *c = calloc(1, sizeof(*c) + len + 1);

    if (c == NULL) {
        (void)call_finish(a, CALLSIGN_FAILED, "no_memory", "out of memory");
        return;
    }
    c->id = ++l->claims_made;
    c->env_id = wanted->env_id;
    c->node_id = wanted->node_id;
    c->expires_ms = transport_now_ms() + wanted->ttl_ms;
    memcpy(c->name, wanted->name, len + 1);
    c->next = l->claims;
    l->claims = c;
    l->expires_ms = c->expires_ms < l->expires_ms ? c->expires_ms : l->expires_ms;
    (void)pthread_cond_broadcast(&l->wake);
    (void)snprintf(ret_claimed->id, sizeof(ret_claimed->id), "%" PRIu64, c->id);
    ret_claimed->expires_in_ms = wanted->ttl_ms;
}

/* Whether nobody who waits for the same name came earlier. */
static bool is_first(const struct local *l, const struct local_waiter *w)
{
    const struct local_waiter *first = l->waiters;

    while (first->env_id != w->env_id || strcmp(first->name, w->name) != 0) {
        first = first->next;
    }
    return first == w;
}

static void queue_up(struct local *l, struct local_waiter *w)
{
    struct local_waiter **at = &l->waiters;

    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = w;
}

static void leave(struct local *l, struct local_waiter *w)
{
    struct local_waiter **at = &l->waiters;

    while (*at != w) {
        at = &(*at)->next;
    }
    *at = w->next;
    (void)pthread_cond_broadcast(&l->wake);
}

enum callsign_result local_claim(struct local *l, const struct callsign_claim *claim,
                                 struct callsign_claimed *ret_claimed, struct callsign_answer *a)
{
    struct local_waiter self = {.env_id = claim->env_id, .name = claim->name};
    uint64_t until = transport_now_ms() + claim->wait_ms;

    local_lock(l);
    queue_up(l, &self);
    for (;;) {
        const struct local_name *n = local_table_find(&l->table, claim->env_id, claim->name);

        if (n != NULL) {
            local_show(a, n);
            break;
        }
        if (local_node_is_down(l, claim->node_id)) {
            (void)call_finish(a, CALLSIGN_REFUSED, "node_down", local_text_of("node_down"));
            break;
        }
        if (is_first(l, &self) && !local_claim_is_held(l, claim->env_id, claim->name)) {
            make_claim(l, claim, ret_claimed, a);
            break;
        }
        if (transport_now_ms() >= until) {
            (void)call_finish(a, CALLSIGN_REFUSED, "name_claimed", local_text_of("name_claimed"));
            break;
        }
        local_wait(l, until);
    }
    leave(l, &self);
    return local_unlock(l, a);
}

static enum callsign_result not_found(struct local *l, struct callsign_answer *a)
{
    (void)call_finish(a, CALLSIGN_NOT_FOUND, "claim_not_found", "the claim has ended");
    return local_unlock(l, a);
}

enum callsign_result local_claim_confirm(struct local *l, const struct callsign_claimed *claimed,
                                         uint64_t process_id, struct callsign_answer *a)
{
    struct local_claim **at;
    struct callsign_put put;
    struct local_name *n;

    local_lock(l);
    at = find_id(l, claimed);
    if (*at == NULL) {
        return not_found(l, a);
    }
    if (local_node_is_down(l, (*at)->node_id)) {
        (void)call_finish(a, CALLSIGN_REFUSED, "node_down", local_text_of("node_down"));
        return local_unlock(l, a);
    }
    put = (struct callsign_put){.env_id = (*at)->env_id,
                                .name = (*at)->name,
                                .node_id = (*at)->node_id,
                                .process_id = process_id};
    n = local_set(l, NULL, &put); /* ends the claim, and put.name with it */
    if (n == NULL) {
        (void)call_finish(a, CALLSIGN_FAILED, "no_memory", "out of memory");
    } else {
        a->created = true;
        local_commit(l);
        local_show(a, n);
    }
    return local_unlock(l, a);
}

enum callsign_result local_claim_abort(struct local *l, const struct callsign_claimed *claimed,
                                       struct callsign_answer *a)
{
    struct local_claim **at;

    local_lock(l);
    at = find_id(l, claimed);
    if (*at == NULL) {
        return not_found(l, a);
    }
    end(l, at);
    return local_unlock(l, a);
}
