/* listing.c - lists in slices.
 *
 * Owner: the request. A vhost that is deleted while it is listed ends there; the list goes on with the
 * next. */
#include "broker/listing.h"

#include "broker/json_in.h"
#include "broker/json_out.h"

/* --- columns --- */

static bool add_column(struct request *r, struct slice name)
{
    struct listing_state *state = &r->listing;
    const struct listing *listing = state->listing;
    for (size_t i = 0; i < listing->column_count; i++) {
        if (!slice_is(name, listing->columns[i].name))
            continue;
        if (state->column_count == REQUEST_COLUMNS_MAX)
            return request_fail(r, REQUEST_MALFORMED, "too many columns");
        state->columns[state->column_count++] = (uint8_t)i;
        return true;
    }
    return request_fail(r, REQUEST_MALFORMED, "Info key(s) %.*s are not supported",
                        (int)(name.len < 80 ? name.len : 80), (const char *)name.at);
}

static bool choose_columns(struct request *r)
{
    const json_t *given = json_object_get(r->args, "columns");
    for (size_t i = 0; i < json_array_size(given); i++) {
        const json_t *name = json_array_get(given, i);
        if (!json_is_string(name))
            return request_fail(r, REQUEST_MALFORMED, "a column's name is a text");
        if (!add_column(r, slice_of(json_string_value(name), json_string_length(name))))
            return false;
    }
    for (const char *at = r->listing.listing->defaults; *at && json_array_size(given) == 0;) {
        size_t len = strcspn(at, " ");
        if (!add_column(r, slice_of(at, len)))
            return false;
        at += len + (at[len] == ' ');
    }
    assert(r->listing.column_count > 0);
    return true;
}

/* --- vhosts --- */

bool listing_choose_vhosts(struct request *r)
{
    struct listing_state *state = &r->listing;
    const struct server *s = r->server;
    bool one = json_object_get(r->args, "vhost");
    if (one && !request_vhost(r))
        return false;
    state->vhosts = mem_zalloc((one ? 1 : s->vhosts.size + 1) * sizeof(struct slice));
    if (one)
        state->vhosts[state->vhost_count++] = slice_copy(request_text(r, "vhost"));
    map_each (&s->vhosts, i) {
        const struct vhost *v = s->vhosts.slots[i].value;
        if (!one && !list_linked(&v->ending)) /* one that is being deleted is not found by its name */
            state->vhosts[state->vhost_count++] = slice_copy(v->name);
    }
    return true;
}

bool listing_enter_vhost(struct request *r)
{
    struct listing_state *state = &r->listing;
    walk_end(&state->walk);
    state->vhost = NULL;
    state->phase = state->position = 0;
    while (!state->vhost && state->vhost_at < state->vhost_count)
        state->vhost = server_find_vhost(r->server, state->vhosts[state->vhost_at++]);
    if (!state->vhost)
        return false;
    walk_begin(&r->server->control.walks, &state->walk, state->vhost);
    return true;
}

struct queue *listing_queue(struct request *r)
{
    struct walk *walk = &r->listing.walk;
    struct list *queues = &r->listing.vhost->default_exchange->binding_list;
    if (!walk->at[0])
        walk->at[0] = queues->next;
    if (walk->at[0] == queues)
        return NULL;
    return queue_of_dest(container_of(walk->at[0], struct binding, by_source)->dest);
}

struct exchange *listing_exchange(struct request *r)
{
    struct walk *walk = &r->listing.walk;
    struct list *exchanges = &r->listing.vhost->exchange_list;
    if (!walk->at[0])
        walk->at[0] = exchanges->next;
    if (walk->at[0] == exchanges)
        return NULL;
    return container_of(walk->at[0], struct exchange, of_vhost);
}

/* --- rows --- */

static void put_row(struct request *r, const struct row *row)
{
    const struct listing_state *state = &r->listing;
    request_row_begin(r);
    for (size_t i = 0; i < state->column_count; i++) {
        const struct column *column = &state->listing->columns[state->columns[i]];
        json_out_key(&r->out, column->name);
        column->put(&r->out, row);
    }
    request_row_end(r);
}

/* The next of this vhost or the ones after it. */
static enum listing_next next_row(struct request *r, struct row *row)
{
    struct listing_state *state = &r->listing;
    enum listing_next next = LISTING_END;
    row->vhost = state->vhost;
    if (state->walk.owner) /* NULL: not begun, or what it goes through went away */
        next = state->listing->next(r, row);
    if (next == LISTING_END && state->listing->of_vhosts && listing_enter_vhost(r))
        next = LISTING_PASSED;
    return next;
}

static void step(struct request *r)
{
    struct row row = {0};
    size_t start = r->out.len;
    for (int i = 0; i < REQUEST_BATCH_ITEMS && r->out.len - start < REQUEST_BATCH_BYTES; i++) {
        enum listing_next next = next_row(r, &row);
        if (next == LISTING_ROW)
            put_row(r, &row);
        if (next != LISTING_END)
            continue;
        walk_end(&r->listing.walk);
        r->step = NULL;
        return;
    }
}

void listing_start(struct request *r, const struct listing *listing)
{
    r->listing.listing = listing;
    if (!choose_columns(r) || (listing->of_vhosts && !listing_choose_vhosts(r)))
        return;
    if (!listing->of_vhosts)
        walk_begin(&r->server->control.walks, &r->listing.walk, r->server);
    r->step = step;
}
