/* server.c - the server's life and its turn. */
#include "broker/server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/channel.h"
#include "broker/confirm.h"
#include "broker/consume.h"
#include "broker/deadletter.h"
#include "broker/definitions_import.h"
#include "broker/delayed.h"
#include "broker/deliver.h"
#include "broker/expire.h"
#include "broker/giveback.h"
#include "broker/outbox.h"
#include "broker/privilege.h"
#include "broker/recovery.h"
#include "broker/status.h"
#include "broker/tx.h"
#include "net/carrier.h"
#include "net/notify.h"
#include "queue/paging.h"

/* Entries of deleted and purged queues that are dropped in a turn. */
enum { BURY_TURN_MAX = 8192 };

/* Dead letters that are published in a turn; those of a transaction are not counted. */
enum { DEAD_LETTERS_MAX = 1024 };

/* How long clients get to answer the close of a server that stops. */
enum { STOP_PATIENCE_MS = 4000 };

/* --- opening and closing --- */

static void wake_loop(void *arg)
{
    struct server *s = arg;
    loop_wake(s->loop);
}

static void store_note_line(void *arg, enum store_note level, const char *text)
{
    struct server *s = arg;
    static const enum log_level levels[] = {LOG_INFO, LOG_WARNING, LOG_ERROR};
    log_line(&s->log, levels[level], 0, "%s", text);
}

static void on_signal(void *arg, int signal)
{
    struct server *s = arg;
    if (signal == SIGTERM || signal == SIGINT) {
        log_line(&s->log, LOG_INFO, 0, "stopping: got %s", signal == SIGTERM ? "SIGTERM" : "SIGINT");
        server_stop(s);
    } else if (signal == SIGUSR1) {
        status_log(s);
    } else if (signal == SIGHUP) {
        gate_reload(s);
    }
}

static void open_console(struct server *s, FILE *console)
{
    log_init(&s->log, s->config->log_console ? console : NULL, s->clock);
    s->log.console_level = s->config->log_console_level;
}

static bool open_log(struct server *s)
{
    const struct config *config = s->config;
    if (!config->log_file[0])
        return true;
    int status = log_open_file(&s->log, config->log_file);
    s->log.file_level = config->log_file_level;
    if (status < 0)
        log_line(&s->log, LOG_CRITICAL, 0, "cannot open log.file '%s': %s", config->log_file,
                 strerror(-status));
    return status == 0;
}

static bool open_store(struct server *s, const struct server_options *options)
{
    char error[512];
    struct store_options store = {
        .dir = s->config->data_dir,
        .io = options->io,
        .segment_bytes = options->segment_bytes,
        .quarantine = s->config->store_quarantine,
        .without_thread = options->simulated,
        .wake = options->simulated ? NULL : wake_loop,
        .wake_arg = s,
        .note = store_note_line,
        .note_arg = s,
    };
    int status = store_open(&s->store, &store, error, sizeof(error));
    if (status < 0)
        log_line(&s->log, LOG_CRITICAL, 0, "cannot open the data directory: %s", error);
    return status == 0;
}

/* Half the processors, but one or two, may carry bytes while the loop goes on; a single one has nothing to
 * gain. */
static void open_loop(struct server *s)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    s->loop = loop_new(&s->net, on_signal, s);
    if (processors > 1)
        s->net.carrier = carrier_new(processors >= 4 ? 2 : 1, wake_loop, s);
}

bool server_open(struct server *s, const struct server_options *options)
{
    *s = (struct server){
        .config = options->config, .clock = options->clock, .rand = options->rand};
    struct list *lists[] = {&s->connections, &s->doomed, &s->barred,  &s->throttled, &s->confirming,
                            &s->confirmable, &s->slack,  &s->getting, &s->outboxes,  &s->ending};
    for (size_t i = 0; i < array_size(lists); i++)
        list_init(lists[i]);
    alarm_init(&s->alarms);
    control_init(&s->control);
    parameters_init(&s->parameters, rand_u64(&s->rand));
    gate_init(&s->gate);
    company_init(&s->company);
    giveback_init(&s->giving, options->giveback_max ? options->giveback_max : GIVEBACK_TURN);
    chatter_init(s, rand_u64(&s->rand));
    intercept_open(s);
    net_init(&s->net);
    slab_pool_init(&s->messages);
    map_init(&s->vhosts, rand_u64(&s->rand));
    map_init(&s->memories, rand_u64(&s->rand));
    users_init(&s->users, rand_u64(&s->rand));
    s->users.hashing = options->config->auth.password_hashing;
    queue_home_init(&s->home, &s->messages, NULL);
    s->home.outcomes.turn_max = options->dead_letters_max ? options->dead_letters_max : DEAD_LETTERS_MAX;
    /* Whoever fails from here on leaves something that server_close can free. */
    open_console(s, options->console);
    if (!options->simulated) {
        open_loop(s);
        if (!gate_bind(s) || !privilege_drop(s)) /* no file is made before that */
            return false;
    }
    if (!open_log(s) || !open_store(s, options))
        return false;
    s->home.store = s->store;
    expire_read_clock(s);
    s->expire.clock_is_read = false;
    const struct config *config = options->config;
    paging_configure(&s->home.paging, config->queue_resident_messages, config->queue_page_size,
                     config->resident_memory);
    if (!ask_open(s) || !recovery_run(s) || !definitions_import_configured(s))
        return false;
    struct probe probe = options->probe ? *options->probe : probe_system(s->config->data_dir);
    if (options->probe || !options->simulated)
        alarm_start(s, &probe);
    return true;
}

/* Nothing that memory drops from here on is an ack: the store is closed already. */
static void free_state(struct server *s)
{
    assert(s->store == NULL && list_empty(&s->connections));
    s->home.store = NULL;
    map_each(&s->vhosts, i) {
        struct vhost *v = s->vhosts.slots[i].value;
        vhost_free(&v);
    }
    map_free(&s->vhosts);
    assertf(s->bounds.topology_bytes == 0, "%llu bytes of nothing",
            (unsigned long long)s->bounds.topology_bytes);
    assert(s->bounds.remembered_bytes == 0);
    parameters_free(&s->parameters);
    assert(list_empty(&s->control.walks));
    assert(s->memories.size == 0);
    map_free(&s->memories);
    queue_home_free(&s->home);
    ask_close(s);
    users_free(&s->users);
    chatter_free(s);
    timers_free(&s->timers);
    slab_pool_free(&s->messages);
    mem_free(s->targets);
    buf_free(&s->told);
    mem_free(s->screened);
    gate_free(s);
    intercept_free(&s->intercept);
    event_free(&s->events);
    carrier_free(&s->net.carrier);
    if (s->loop)
        loop_free(&s->loop);
    net_free(&s->net);
    log_close(&s->log);
}

static void close_connections(struct server *s)
{
    list_each(node, &s->connections)
        stream_abort(&container_of(node, struct connection, link)->stream, 0);
    giveback_finish(s);
    while (!list_empty(&s->connections)) {
        struct connection *conn = list_first(&s->connections, struct connection, link);
        list_unlink(&conn->doomed);
        connection_free(&conn);
    }
}

void server_close(struct server *s)
{
    gate_close(s);
    control_close(s);
    close_connections(s);
    if (s->store) {
        vhost_end_some(s, true);
        queue_home_bury(&s->home, SIZE_MAX);
        deadletter_finish(s);
        store_close(&s->store);
        if (s->stopping)
            log_line(&s->log, LOG_INFO, 0, "stopped: everything is on disk");
    }
    free_state(s);
}

void server_abandon(struct server *s)
{
    close_connections(s); /* what that still gives to the store is in no batch that was handed over */
    store_abandon(&s->store);
    free_state(s);
}

/* --- clients --- */

struct connection *server_accept(struct server *s, const struct transport *transport, void *io,
                                 const struct peer *peer)
{
    return connection_new(s, transport, io, peer);
}

void server_node(char name[SERVER_NODE_SIZE])
{
    static const char prefix[] = "leveret@";
    memset(name, 0, SERVER_NODE_SIZE); /* a host name that does not fit may come without its end */
    memcpy(name, prefix, sizeof(prefix) - 1);
    gethostname(name + sizeof(prefix) - 1, SERVER_NODE_SIZE - sizeof(prefix));
}

struct vhost *server_find_vhost(const struct server *s, struct slice name)
{
    struct vhost *v = map_get(&s->vhosts, name);
    return v && !list_linked(&v->ending) ? v : NULL;
}

static void stop_timeout(struct timer *timer)
{
    struct server *s = container_of(timer, struct server, stop_timer);
    list_each(node, &s->connections) {
        struct connection *conn = container_of(node, struct connection, link);
        if (conn->stream.state != STREAM_CLOSED)
            stream_abort(&conn->stream, 0);
    }
}

void server_stop(struct server *s)
{
    if (s->stopping)
        return;
    s->stopping = true;
    if (s->loop)
        notify_manager("STOPPING=1\nSTATUS=closing connections");
    gate_close(s);
    list_each(node, &s->connections)
        connection_force_close(container_of(node, struct connection, link),
                               "broker forced connection closure with reason 'shutdown'");
    s->stop_timer.fire = stop_timeout;
    timer_set(&s->timers, &s->stop_timer, server_now_ms(s) + STOP_PATIENCE_MS);
}

/* --- the turn --- */

static void move_unacked(void *arg, struct unacked_item *item)
{
    paging_move(item->queue, &item->entry, *(const uint64_t *)arg, true);
}

static void move_outcome(void *arg, struct outcome *outcome)
{
    paging_move(outcome->queue, &outcome->entry, *(const uint64_t *)arg, true);
}

static void move_channel(void *arg, struct channel *ch)
{
    const uint64_t *limit = arg;
    unacked_walk_old(&ch->unacked, *limit, move_unacked, arg);
    tx_walk_old(ch, *limit, move_unacked, arg);
}

/* Lets the oldest part of the journal go when little of it is needed: one old message pins no more than
 * that. Slice by slice, so that nobody waits for long. */
static void compact_journal(struct server *s)
{
    uint64_t limit = mover_run(&s->home);
    if (limit == 0)
        return;
    delays_move(&s->home.delays, limit);
    outcomes_walk_old(&s->home, limit, move_outcome, &limit);
    list_each(node, &s->connections) {
        struct connection *conn = container_of(node, struct connection, link);
        for (size_t i = 0; i < conn->channels.capacity; i++)
            if (conn->channels.slots[i])
                move_channel(&limit, conn->channels.slots[i]);
    }
    giveback_each_detached(&s->giving, move_channel, &limit);
    mover_finish(&s->home);
}

static void reap(struct server *s)
{
    list_each_safe(node, &s->doomed) {
        struct connection *conn = container_of(node, struct connection, doomed);
        if (conn->flow.detached > 0)
            continue;
        list_remove(&conn->doomed);
        connection_free(&conn);
    }
}

static size_t dead_letters_max(const struct server *s)
{
    size_t max = s->home.outcomes.turn_max;
    return s->company.present && max > COMPANY_LETTERS ? COMPANY_LETTERS : max;
}

/* Input was taken by loop_poll: its handlers only changed state and marked. Now act once. The order is the
 * durability argument: what this turn recorded goes to the disk thread before anything is confirmed, only
 * what is on disk is confirmed, and nothing is freed while a frame may still name it. */
void server_act(struct server *s)
{
    timers_run(&s->timers, server_now_ms(s));
    ask_arrive(s);
    expire_input(s);
    company_look(s);
    paging_arrive(&s->home);
    delayed_run(s);
    expire_before_delivery(s);
    consume_resume_gets(s);
    alarm_watch(s);
    policies_act(s);
    vhost_end_some(s, false);
    giveback_run(s);
    control_act(s);
    outbox_flush(s);
    deliver_ready(s);
    expire_after_delivery(s);
    deadletter_run(s, dead_letters_max(s));
    queue_home_bury(&s->home, BURY_TURN_MAX);
    paging_squeeze(&s->home);
    paging_fetch(&s->home);
    compact_journal(s);
    dedup_renew(&s->home.dedup, s->store);
    if (!s->giving.committing) /* its parts are in one batch */
        store_commit(s->store);
    confirm_durable(s);
    net_flush_all(&s->net);
    reap(s);
}

int server_patience_ms(struct server *s)
{
    if (!list_empty(&s->home.ready) || !list_empty(&s->home.graveyard) || !list_empty(&s->slack) ||
        !list_empty(&s->outboxes) || giveback_is_busy(&s->giving) || !list_empty(&s->doomed) ||
        !list_empty(&s->ending) || mover_is_busy(&s->home.mover) || policies_are_settling(s) ||
        control_is_busy(s) || deadletter_waits(s) ||
        pages_have_loaded(store_pages(s->store)))
        return 0;
    uint64_t next = timers_next_ms(&s->timers), now = server_now_ms(s), due = expire_next_ms(s);
    if (due < next)
        next = due;
    if (delayed_next_ms(s) < next)
        next = delayed_next_ms(s);
    if (next == UINT64_MAX)
        return -1;
    return next <= now ? 0 : (int)(next - now > 60000 ? 60000 : next - now);
}

int server_run(const struct config *config)
{
    mem_tune();
    struct server *s = mem_zalloc(sizeof(*s));
    struct server_options options = {
        .config = config, .clock = clock_system(), .rand = rand_secure(), .console = stdout};
    bool started = server_open(s, &options);
    if (started)
        log_line(&s->log, LOG_INFO, 0, "Leveret " LEVERET_VERSION " with data in %s", config->data_dir);
    started = started && control_open(s) && gate_open(s);
    if (started) {
        log_line(&s->log, LOG_INFO, 0, "ready: clients can connect");
        notify_manager("READY=1\nSTATUS=clients can connect");
    }
    while (started && !(s->stopping && list_empty(&s->connections))) {
        loop_poll(s->loop, server_patience_ms(s));
        server_act(s);
    }
    server_close(s);
    mem_free(s);
    return started ? 0 : 1;
}
