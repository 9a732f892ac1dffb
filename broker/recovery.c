/* recovery.c - from the store to memory.
 *
 * What the store hands over was written by this program, but only messages and pages have checksums: a row
 * of the definitions may be anything. One that makes no sense (an exchange of a vhost that is not there) is
 * logged and left out. A queue's cannot be, for its messages would go with it: then the start is refused, and
 * nothing is changed. */
#include "broker/recovery.h"

#include <stdio.h>

#include "broker/admin.h"
#include "broker/arguments.h"
#include "broker/delayed.h"
#include "broker/duplicate.h"
#include "broker/vhost.h"
#include "protocol/table.h"
#include "queue/lane.h"

/* A queue on its way back, by id. */
struct returning {
    uint64_t id;
    struct queue *queue;   /* NULL: */
    struct delay *delay;   /* the calendar of an exchange */
};

struct recovery {
    struct server *server;
    struct returning *queues; /* by id, as the definitions give them; see find_returning */
    size_t queue_count, queue_capacity;
    bool unsorted;
    size_t messages;
    char refusal[1536]; /* why the server must not start; "" = it may */
};

static void complain(struct recovery *r, const struct definition *d, const char *what)
{
    log_line(&r->server->log, LOG_ERROR, 0, "left out of the definitions: %s '%.*s' in vhost '%.*s'",
             what, SLICE_ARG(d->name), SLICE_ARG(d->vhost));
}

/* Nothing in it can be trusted: what it seems to be is a guess. */
static void complain_of_damage(struct recovery *r, const struct definition *d)
{
    static const char *const kinds[] = {
        [DEFINITION_VHOST] = "vhost",           [DEFINITION_USER] = "user",
        [DEFINITION_PERMISSION] = "permission", [DEFINITION_TOPIC_PERMISSION] = "topic permission",
        [DEFINITION_PARAMETER] = "parameter",   [DEFINITION_EXCHANGE] = "exchange",
        [DEFINITION_QUEUE] = "queue",           [DEFINITION_BINDING] = "binding"};
    log_line(&r->server->log, LOG_ERROR, 0, "%s/definitions.db: damaged and left out: a %s, perhaps '%.*s' "
             "in vhost '%.*s': its checksum is wrong", r->server->config->data_dir, kinds[d->kind],
             (int)(d->name.len < 300 ? d->name.len : 300), (const char *)d->name.at,
             (int)(d->vhost.len < 300 ? d->vhost.len : 300), (const char *)d->vhost.at);
}

/* Of several reasons the first counts. */
static void refuse(struct recovery *r, const struct definition *d, const char *why)
{
    if (r->refusal[0])
        return;
    snprintf(r->refusal, sizeof(r->refusal), "%s/definitions.db: the row of queue '%.*s' (id %llu) in vhost "
             "'%.*s' is damaged: %s; its messages would be lost without it", r->server->config->data_dir,
             (int)(d->name.len < 100 ? d->name.len : 100), (const char *)d->name.at,
             (unsigned long long)d->id, (int)(d->vhost.len < 100 ? d->vhost.len : 100),
             (const char *)d->vhost.at, why);
}

static bool is_sound(const struct definition *d)
{
    return d->name.len <= UINT8_MAX && d->key.len <= UINT8_MAX && table_check(d->args);
}

static void recover_vhost(struct recovery *r, const struct definition *d)
{
    if (d->name.len > UINT8_MAX) {
        complain(r, d, "vhost");
        return;
    }
    struct vhost *v = vhost_new(r->server, d->name);
    vhost_set_metadata(v, d->args);
}

static void recover_user(struct recovery *r, const struct definition *d)
{
    enum password_hashing hashing;
    char error[256];
    if (!password_hashing_from_name(d->type, &hashing)) {
        complain(r, d, "user with an unknown hashing:");
        return;
    }
    struct user *user = user_put(&r->server->users, d->name, d->password_hash, d->tags);
    user->hashing = hashing;
    if (d->args.len && !limits_parse(&user->limits, LIMITS_OF_USER, d->args, error, sizeof(error)))
        complain(r, d, "limits of user");
}

/* Limits and policies are kept as parameters, but live with their vhost. */
static void recover_parameter(struct recovery *r, const struct definition *d)
{
    struct vhost *v = server_find_vhost(r->server, d->vhost);
    char error[512];
    bool good = (v || d->vhost.len == 0) && d->vhost.len < 256 && d->type.len < 256 && d->name.len < 256;
    if (good && v && slice_is(d->type, "vhost-limits"))
        good = limits_parse(&v->limits, LIMITS_OF_VHOST, d->args, error, sizeof(error));
    else if (good && v && slice_is(d->type, "policy"))
        good = policies_recover(v, d->name, false, d->args, error, sizeof(error));
    else if (good && v && slice_is(d->type, "operator_policy"))
        good = policies_recover(v, d->name, true, d->args, error, sizeof(error));
    else if (good)
        parameters_put(r->server,
                       &(struct parameter){
                           .vhost = d->vhost, .component = d->type, .name = d->name, .value = d->args},
                       false);
    if (!good)
        complain(r, d, "parameter");
}

static void recover_topic_permission(struct recovery *r, const struct definition *d)
{
    struct user *user = user_find(&r->server->users, d->name);
    char error[256];
    if (!user || d->source.len > 255 ||
        !user_permit_topic(user, d->vhost, d->source, d->write, d->read, error, sizeof(error)))
        complain(r, d, "topic permission of user");
}

static void recover_permission(struct recovery *r, const struct definition *d)
{
    struct user *user = user_find(&r->server->users, d->name);
    char error[256];
    if (!user || !user_permit(user, d->vhost, d->configure, d->write, d->read, error, sizeof(error)))
        complain(r, d, "permission of user");
}

static void recover_exchange(struct recovery *r, struct vhost *v, const struct definition *d)
{
    struct exchange_properties properties = {.type = exchange_type_find(d->type),
                                             .args = d->args,
                                             .durable = true,
                                             .auto_delete = d->auto_delete,
                                             .internal = d->internal};
    struct fault f;
    bool good = properties.type && is_sound(d) && !vhost_find_exchange(v, d->name) &&
                duplicate_check_args(d->args, &f) && delayed_check_args(d->args, &f) &&
                (!properties.type->check_args || properties.type->check_args(d->args, &f));
    if (good)
        vhost_add_exchange(v, d->name, &properties, false);
    else
        complain(r, d, "exchange");
}

static void add_returning(struct recovery *r, uint64_t id, struct queue *queue, struct delay *delay)
{
    if (r->queue_count == r->queue_capacity) {
        r->queue_capacity = r->queue_capacity ? 2 * r->queue_capacity : 64;
        r->queues = mem_realloc(r->queues, r->queue_capacity * sizeof(*r->queues));
    }
    r->unsorted |= r->queue_count > 0 && r->queues[r->queue_count - 1].id > id;
    r->queues[r->queue_count++] = (struct returning){id, queue, delay};
}

/* So many queues follow: what holds all of them gets its size once. */
static void on_queues(void *arg, size_t count)
{
    struct recovery *r = arg;
    struct map *vhosts = &r->server->vhosts;
    assert(!r->queues);
    r->queue_capacity = count;
    r->queues = mem_alloc(count * sizeof(*r->queues));
    map_each(vhosts, i) {
        if (vhosts->size == 1) /* else nobody knows whose they are */
            vhost_expect_queues(vhosts->slots[i].value, count);
    }
}

/* A row that is no queue's but what an exchange keeps something by says so twice: in its name, and in an
 * argument that says whose it is. One of the two alone may be a client's argument, or a queue's name. */
static bool is_keeper(const struct definition *d, const char *prefix, const char *argument,
                      struct slice *exchange)
{
    struct field field;
    size_t len = strlen(prefix);
    return slice_starts_with(d->name, prefix) && table_find(d->args, argument, &field) &&
           field_string(&field, exchange) && exchange->len <= UINT8_MAX &&
           slice_equal(*exchange, slice_of(d->name.at + len, d->name.len - len));
}

static void recover_calendar(struct recovery *r, struct vhost *v, const struct definition *d,
                             struct slice exchange)
{
    struct exchange *x = vhost_find_exchange(v, exchange);
    if (!x || x->delay)
        refuse(r, d, "it is the calendar of an exchange that is not there");
    else
        add_returning(r, d->id, NULL, delayed_calendar(v, x, d->id));
}

static void recover_memory(struct recovery *r, struct vhost *v, const struct definition *d,
                           struct slice exchange)
{
    struct exchange *x = vhost_find_exchange(v, exchange);
    if (!x || !duplicate_return(v, x, d->id))
        complain(r, d, "memory");
}

static void recover_queue(struct recovery *r, struct vhost *v, const struct definition *d)
{
    struct resource what = {"queue", d->name, d->vhost};
    struct slice exchange;
    struct fault f;
    bool possible = table_check(d->args) && d->id > 0 && d->id <= STORE_QUEUE_ID_MAX;
    bool calendar = possible && is_keeper(d, DELAYED_NAME_PREFIX, DELAYED_ARGUMENT, &exchange);
    bool memory = possible && !calendar && is_keeper(d, DUPLICATE_NAME_PREFIX, DUPLICATE_ARGUMENT, &exchange);
    if (!v || !possible || !(calendar || memory || is_sound(d))) {
        refuse(r, d, !v ? "there is no such vhost" : "its id, its name or its arguments are impossible");
        return;
    }
    if (calendar || memory) {
        (calendar ? recover_calendar : recover_memory)(r, v, d, exchange);
        return;
    }
    struct queue_properties properties = {
        .args = d->args, .durable = true, .auto_delete = d->auto_delete, .id = d->id};
    if (vhost_find_queue(v, d->name)) {
        refuse(r, d, "there is another one of that name");
        return;
    }
    if (!arguments_check_queue(d->args, &what, &f)) {
        log_line(&r->server->log, LOG_ERROR, 0, "%s; the queue is recovered without arguments", f.text);
        properties.args = SLICE("");
    }
    add_returning(r, d->id, vhost_add_queue(v, d->name, &properties, false), NULL);
}

static void recover_binding(struct recovery *r, struct vhost *v, const struct definition *d)
{
    struct exchange *source = vhost_find_exchange(v, d->source);
    struct queue *queue = d->to_queue ? vhost_find_queue(v, d->name) : NULL;
    struct exchange *exchange = d->to_queue ? NULL : vhost_find_exchange(v, d->name);
    struct dest *dest = queue ? &queue->dest : exchange ? &exchange->dest : NULL;
    struct fault f;
    if (!source || source->is_default || !dest || !is_sound(d) ||
        !vhost_bind(v, source, dest, d->key, d->args, false, &f))
        complain(r, d, "binding to");
}

static void on_definition(void *arg, const struct definition *d)
{
    struct recovery *r = arg;
    struct server *s = r->server;
    struct vhost *v = server_find_vhost(s, d->vhost);
    if (d->damaged && d->kind == DEFINITION_QUEUE)
        refuse(r, d, "its checksum is wrong");
    else if (d->damaged)
        complain_of_damage(r, d);
    else if (d->kind == DEFINITION_VHOST)
        recover_vhost(r, d);
    else if (d->kind == DEFINITION_PARAMETER)
        recover_parameter(r, d);
    else if (d->kind == DEFINITION_USER)
        recover_user(r, d);
    else if (d->kind == DEFINITION_QUEUE)
        recover_queue(r, v, d);
    else if (!v)
        complain(r, d, "something of a missing vhost:");
    else if (d->kind == DEFINITION_PERMISSION)
        recover_permission(r, d);
    else if (d->kind == DEFINITION_TOPIC_PERMISSION)
        recover_topic_permission(r, d);
    else if (d->kind == DEFINITION_EXCHANGE)
        recover_exchange(r, v, d);
    else
        recover_binding(r, v, d);
}

static int by_id(const void *a, const void *b)
{
    uint64_t one = ((const struct returning *)a)->id, other = ((const struct returning *)b)->id;
    return (one > other) - (one < other);
}

/* The queue with that id, whatever the lane. */
static struct returning *find_returning(struct recovery *r, uint64_t id)
{
    struct returning wanted = {.id = id & STORE_QUEUE_ID_MAX};
    if (r->unsorted)
        qsort(r->queues, r->queue_count, sizeof(wanted), by_id);
    r->unsorted = false;
    return r->queue_count ? bsearch(&wanted, r->queues, r->queue_count, sizeof(wanted), by_id) : NULL;
}

/* Where a lane of it is a calendar's: that. */
static struct delay *calendar_of(struct returning *returning, unsigned lane)
{
    if (returning->delay || lane < DELAY_LANE_FIRST)
        return returning->delay;
    return delay_for_queue(returning->queue);
}

/* What an undamaged queue had put into a lane that this one does not have. */
static bool has_lane(struct recovery *r, const struct returning *returning, uint64_t queue_id)
{
    unsigned lane = lane_of_id(queue_id);
    const struct queue *q = returning->queue;
    if (returning->delay || lane >= DELAY_LANE_FIRST || q->groups || lane < lane_count(q))
        return true;
    struct definition d = {.name = q->name, .vhost = SLICE("?"), .id = returning->id};
    refuse(r, &d, "it has messages of a priority or group that its arguments do not provide for");
    return false;
}

static void restore(struct returning *returning, const struct stored_target *target, struct message *m,
                    uint16_t returns)
{
    unsigned lane = lane_of_id(target->queue_id);
    struct delay *delay = calendar_of(returning, lane);
    if (delay)
        delay_restore(delay, lane, m, target->sequence);
    else
        queue_restore(returning->queue, lane, m, target->sequence, returns);
}

static void on_message(void *arg, const struct stored_message *stored, uint64_t batch)
{
    struct recovery *r = arg;
    struct server *s = r->server;
    if (r->refusal[0])
        return;
    struct message *m = message_new(&s->messages, stored->exchange, stored->key, stored->props,
                                    stored->body.len);
    memcpy(message_body_at(m), stored->body.at, stored->body.len);
    m->persistent = true;
    m->batch = batch;
    m->dead_letter = stored->dead_letter;
    m->retried = stored->retried;
    m->born_ms = stored->born_ms ? stored->born_ms : s->home.now_ms;
    for (size_t i = 0; i < stored->target_count; i++) {
        struct returning *returning = find_returning(r, stored->targets[i].queue_id);
        if (!returning || !has_lane(r, returning, stored->targets[i].queue_id))
            continue;
        m->journal_refs++;
        restore(returning, &stored->targets[i], m, stored->returns[i]);
    }
    assertf(m->journal_refs > 0 || r->refusal[0], "the message is of no queue that is defined");
    message_unref(&s->messages, &m);
    r->messages++;
}

static void on_page(void *arg, uint64_t queue_id, uint32_t slot)
{
    struct recovery *r = arg;
    if (r->refusal[0])
        return;
    struct returning *returning = find_returning(r, queue_id);
    assertf(returning, "the store knows no page of a queue that is not defined");
    if (!has_lane(r, returning, queue_id))
        return;
    struct delay *delay = calendar_of(returning, lane_of_id(queue_id));
    if (delay)
        delay_restore_page(delay, slot);
    else
        queue_restore_page(returning->queue, slot);
    r->messages += pages_at(store_pages(r->server->store), slot)->live;
}

static void on_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    struct returning *returning = find_returning(arg, queue_id);
    if (returning && lane_of_id(queue_id) < DELAY_LANE_FIRST && returning->queue)
        queue_restore_delivered(returning->queue, lane_of_id(queue_id), sequence);
}

static void on_note(void *arg, const struct stored_note *note, uint64_t batch)
{
    struct recovery *r = arg;
    struct returning *returning = find_returning(r, note->owner_id);
    struct dedup *dedup =
        returning && returning->queue ? returning->queue->dedup : duplicate_memory(r->server, note->owner_id);
    if (dedup)
        dedup_restore(dedup, note, batch);
}

static void finish_queue(struct recovery *r, struct returning *returning)
{
    struct queue *q = returning->queue;
    uint64_t floor = store_open_batch(r->server->store) << SEQUENCES_PER_BATCH_BITS;
    struct delay *delay = returning->delay ? returning->delay : q->delay;
    if (delay)
        delay_restored(delay, floor);
    if (!q)
        return;
    queue_restored(q, floor);
    if (q->dedup)
        dedup_restored(q->dedup);
}

/* A vhost and a user who may do everything in it (semantics 3, default objects). */
static void make_defaults(struct server *s)
{
    const struct config *config = s->config;
    struct slice vhost = slice_of_string(config->default_vhost);
    struct slice name = slice_of_string(config->default_user);
    struct slice algorithm = slice_of_string(password_hashing_name(s->users.hashing));
    char hash[PASSWORD_HASH_MAX + 1];
    struct slice patterns[3];
    struct admin_error e;
    for (int i = 0; i < 3; i++)
        patterns[i] = slice_of_string(config->default_permissions[i]);
    password_hash_with(s->users.hashing, &s->rand, slice_of_string(config->default_pass), hash);
    if (!admin_add_vhost(s, vhost, SLICE(""), &e) ||
        !admin_put_user(s, name, slice_of_string(hash), algorithm,
                        slice_of_string(config->default_user_tags), &e) ||
        !admin_set_permissions(s, vhost, name, patterns, &e))
        log_line(&s->log, LOG_ERROR, 0, "the default user and vhost: %s", e.text);
}

/* Who may log in from this machine only is a matter of the configuration, not of the store. */
static void apply_loopback_users(struct server *s)
{
    struct slice rest = slice_of_string(s->config->loopback_users);
    while (rest.len) {
        const uint8_t *comma = memchr(rest.at, ',', rest.len);
        size_t len = comma ? (size_t)(comma - rest.at) : rest.len;
        struct user *user = user_find(&s->users, slice_of(rest.at, len));
        if (user)
            user->loopback_only = true;
        size_t step = comma ? len + 1 : len;
        rest = slice_of(rest.at + step, rest.len - step);
    }
}

bool recovery_run(struct server *s)
{
    struct recovery r = {.server = s};
    struct recovery_sink sink = {on_definition, on_message, on_delivered, &r, on_page, on_note, on_queues};
    char error[512];
    int status = store_recover(s->store, &sink, error, sizeof(error));
    bool refused = status < 0 || r.refusal[0];
    if (refused)
        log_line(&s->log, LOG_CRITICAL, 0, "cannot recover the data directory: %s",
                 status < 0 ? error : r.refusal);
    for (size_t i = 0; i < r.queue_count; i++)
        finish_queue(&r, &r.queues[i]);
    duplicate_restored(s);
    size_t queues = r.queue_count;
    mem_free(r.queues);
    if (refused) {
        store_abandon(&s->store); /* and nothing is written */
        return false;
    }
    s->next_queue_id = store_queue_id_next(s->store);
    if (s->vhosts.size == 0 && s->users.by_name.size == 0 && !s->config->control.definitions[0])
        make_defaults(s);
    apply_loopback_users(s);
    if (queues)
        log_line(&s->log, LOG_INFO, 0, "recovered %zu durable queues with %zu messages", queues,
                 r.messages);
    return true;
}
