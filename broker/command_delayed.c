/* command_delayed.c - what waits for its time: list_delayed, cancel_delayed.
 *
 * A message is named by its calendar's number, when it is due, and its own number: 17-1795376898656-5d3f. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/commands.h"
#include "broker/delayed.h"
#include "broker/json_out.h"
#include "protocol/table.h"
#include "queue/delay_look.h"
#include "queue/retry.h"

/* Rows that wait to be taken: what moves is listed when it does, also when nobody reads. */
enum { ROWS_BYTES_MAX = 8 * 1024 * 1024 };

struct look {
    struct delay_look walk;
    struct request *request;
    struct vhost *vhost; /* of a list; compared only */
    int64_t number;      /* of what is cancelled */
    bool found, overrun; /* overrun: more moved than was read */
};

static void free_look(void *work)
{
    struct look *look = work;
    delay_look_end(&look->walk);
    mem_free(look);
}

static bool number_of(struct slice headers, int64_t *number)
{
    struct field field;
    return table_find(headers, DELAYED_ID_HEADER, &field) && field_integer(&field, number);
}

static struct props props_of(const struct message *m)
{
    struct props props;
    struct fault f;
    bool good = props_decode(message_props(m), &props, &f);
    assertf(good, "properties were checked when they came: %s", f.text);
    return props;
}

static void put_retries(struct buf *out, const struct message *m, struct slice headers)
{
    struct field field;
    int64_t retries = 0;
    if (m->retried && table_find(headers, RETRY_HEADER, &field))
        field_integer(&field, &retries);
    json_out_key(out, "retries");
    json_out_number(out, retries);
}

static bool list_one(void *arg, const struct delay *delay, const struct message *m)
{
    struct look *look = arg;
    struct buf *out = &look->request->out;
    struct props props = props_of(m);
    const struct exchange *x = delay->exchange;
    int64_t number = 0;
    char id[80];
    const void *vhost = delay->queue ? delay->queue->leaving.vhost : delay->vhost;
    if (vhost != look->vhost || look->overrun)
        return false;
    if (out->len > ROWS_BYTES_MAX) {
        look->overrun = true;
        return false;
    }
    number_of(props.headers, &number);
    snprintf(id, sizeof(id), "%" PRIu64 "-%" PRIu64 "-%" PRIx64, delay_id(delay), m->born_ms,
             (uint64_t)number);
    request_row_begin(look->request);
    json_out_key(out, "id");
    json_out_string(out, id);
    json_out_key(out, "due");
    json_out_number(out, (int64_t)m->born_ms);
    json_out_key(out, "exchange");
    json_out_text(out, x ? x->name : SLICE(""));
    json_out_key(out, "routing_key");
    json_out_text(out, message_key(m));
    json_out_key(out, "queue");
    json_out_text(out, delay->queue ? delay->queue->name : SLICE(""));
    put_retries(out, m, props.headers);
    json_out_key(out, "message_id");
    json_out_text(out, props.message_id);
    json_out_key(out, "body_bytes");
    json_out_number(out, m->body_size);
    request_row_end(look->request);
    return false;
}

static bool cancel_one(void *arg, const struct delay *delay, const struct message *m)
{
    struct look *look = arg;
    int64_t number;
    (void)delay;
    if (look->found || !number_of(props_of(m).headers, &number) || number != look->number)
        return false;
    struct server *s = look->request->server;
    s->defined_batch = store_open_batch(s->store); /* its ack is in it, and the answer waits for that */
    return look->found = true;
}

/* False while another one looks, or there is more to be seen. */
static bool goes_on(struct request *r)
{
    struct look *look = r->work;
    struct server *s = r->server;
    if (!look->walk.begun && !delay_look_begin(&look->walk, &s->home))
        return false;
    assert(look->request == r);
    for (int i = 0; i < 64 && !look->walk.done && !look->found && r->out.len < REQUEST_BATCH_BYTES; i++)
        delay_look_step(&look->walk);
    return look->walk.done || look->found || look->overrun;
}

static void list_step(struct request *r)
{
    struct look *look = r->work;
    if (!goes_on(r))
        return;
    delay_look_end(&look->walk);
    r->step = NULL;
    if (look->overrun)
        request_fail(r, REQUEST_REFUSED,
                     "The list is not whole: it was read more slowly than messages moved on");
}

static void cancel_step(struct request *r)
{
    const struct look *look = r->work;
    if (!goes_on(r))
        return;
    delay_look_end(&((struct look *)r->work)->walk);
    r->step = NULL;
    if (!look->found)
        request_fail(r, REQUEST_MISSING,
                     "No such delayed message: it was delivered or cancelled, or never was");
}

static struct look *begin(struct request *r,
                          bool (*picks)(void *arg, const struct delay *delay, const struct message *m))
{
    struct look *look = mem_zalloc(sizeof(*look));
    look->request = r;
    look->walk.picks = picks;
    look->walk.arg = look;
    r->work = look;
    r->free_work = free_look;
    return look;
}

void command_list_delayed(struct request *r)
{
    struct vhost *v = request_vhost(r);
    if (!v)
        return;
    struct look *look = begin(r, list_one);
    look->vhost = v;
    look->walk.lists = true;
    r->step = list_step;
}

void command_cancel_delayed(struct request *r)
{
    struct slice text = request_text(r, "id");
    char id[80];
    uint64_t calendar, due_ms, number;
    int end = 0;
    snprintf(id, sizeof(id), "%.*s", SLICE_ARG(text));
    if (text.len >= sizeof(id) ||
        sscanf(id, "%" SCNu64 "-%" SCNu64 "-%" SCNx64 "%n", &calendar, &due_ms, &number, &end) != 3 ||
        (size_t)end != text.len || calendar == 0 || due_ms == 0) {
        request_fail(r, REQUEST_INVALID, "'%.*s' is no id of a delayed message; list_delayed shows them",
                     (int)(text.len < 80 ? text.len : 80), (const char *)text.at);
        return;
    }
    struct look *look = begin(r, cancel_one);
    look->walk.id = calendar;
    look->walk.due_ms = due_ms;
    look->number = (int64_t)number;
    r->step = cancel_step;
}
