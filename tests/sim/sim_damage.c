/* sim_damage.c - whatever is changed in a data directory, a server that starts on it serves the rest or
 * refuses: no byte on the disk ends it, makes it hand out a message that is not one that was published, or
 * loses one without a word.
 *
 * One directory with queues of many kinds is made; then, over and over, a copy of it is changed in one
 * place - a field of a row of the definitions, or bytes of a file -, and a server starts on that, serves all
 * that it has, stops, and starts again.
 *
 * sim_damage [--seed N] [--runs N] [--all] [--verbose]
 * --all tries each field of each row with each value instead of some by chance.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/vhost.h"
#include "protocol/props.h"
#include "protocol/table.h"
#include "tests/sim/alter.h"
#include "tests/sim/client.h"

enum {
    QUEUES = 8,
    MESSAGES = 260,  /* published */
    HELD = 40,       /* deliveries that are acked or requeued while the directory is made */
    FILES_MAX = 64,
    RUNS = 1500,
    RUNS_SLOW = 150,
    TURNS_LEAST = 45, /* of a drain: 25 ms each, more than delays and ttl together */
    TURNS_QUIET = 12,
    TURNS_MAX = 4000,
    LETTERS = QUEUES - 1
};

static const char *const names[QUEUES] = {"plain", "second", "priority", "quorum",
                                          "mortal", "grouped", "limited", "letters"};

struct file {
    char path[64];
    struct buf bytes;
};

/* What a life saw: how often each message came on each queue, and what the log said. */
struct sight {
    uint8_t came[QUEUES][MESSAGES];
    unsigned deliveries, complaints, again; /* the last: twice, or though acked without the flag */
    bool started;
    char repeat[64];
    char last[256]; /* the last complaint */
};

struct laboratory {
    struct world world;
    struct client client;
    struct sight *sight;
    struct file files[FILES_MAX]; /* of the directory as it was made */
    unsigned file_count;
    bool making, consuming; /* it is being made; the client has begun to consume */
    unsigned held;
    uint8_t acked[QUEUES][MESSAGES];
    struct sight whole; /* of the directory as it was made */
    struct rand rand;
    uint64_t seed;
    char what[512]; /* was changed */
};

static struct laboratory *lab;
static bool verbose; /* each change is said, and what came of it */

/* --- the client --- */

static int queue_of(struct slice name)
{
    for (int i = 0; i < QUEUES; i++)
        if (slice_is(name, names[i]))
            return i;
    return -1;
}

static void fill(uint32_t id, struct buf *body)
{
    for (uint32_t i = 0; i < 20 + id % 7 * 40; i++)
        buf_append(body, &(uint8_t){(uint8_t)(i < 4 ? id >> i * 8 : id * 31 + i)}, 1);
}

static uint32_t id_of(const struct content *content)
{
    struct buf expected = {0};
    uint32_t id = 0;
    assertf(content->body.len >= 4, "a body of %zu bytes: %s", content->body.len, lab->what);
    for (int i = 0; i < 4; i++)
        id |= (uint32_t)content->body.at[i] << i * 8;
    assertf(id < MESSAGES, "message %u was never published: %s", id, lab->what);
    fill(id, &expected);
    bool same = expected.len == content->body.len &&
                memcmp(expected.at, content->body.at, expected.len) == 0;
    assertf(same, "message %u came with another body: %s", id, lab->what);
    buf_free(&expected);
    return id;
}

/* While the directory is made some are acked, some come back and some stay unacked; afterwards all are. */
static void settle(int queue, uint32_t id, uint64_t tag)
{
    struct method m = {.id = METHOD_basic_ack, .basic_ack = {.delivery_tag = tag}};
    if (lab->making && lab->held++ % 3 == 1)
        m = (struct method){.id = METHOD_basic_reject, .basic_reject = {tag, true}};
    else if (lab->making && lab->held % 3 == 0)
        return;
    else
        lab->acked[queue][id] += lab->making;
    client_send(&lab->client, 1, &m);
}

static void on_deliver(const struct amqp_basic_deliver *deliver, const struct content *content)
{
    int queue = queue_of(deliver->consumer_tag);
    uint32_t id = id_of(content);
    struct sight *sight = lab->sight;
    assert(queue >= 0);
    sight->deliveries++;
    if (lab->making) {
        if (lab->held < HELD)
            settle(queue, id, deliver->delivery_tag);
        return;
    }
    if (sight->came[queue][id]++ > 0 || (lab->acked[queue][id] && !deliver->redelivered)) {
        sight->again++;
        snprintf(sight->repeat, sizeof(sight->repeat), "message %u on %s", id, names[queue]);
    }
    settle(queue, id, deliver->delivery_tag);
}

static void on_method(void *arg, uint16_t channel, const struct method *m, const struct content *content)
{
    struct client *client = arg;
    if (m->id == METHOD_connection_open_ok)
        client_send(client, 1, &(struct method){.id = METHOD_channel_open});
    else if (m->id == METHOD_basic_deliver)
        on_deliver(&m->basic_deliver, content);
    else if (m->id == METHOD_connection_close)
        client_send(client, 0, &(struct method){.id = METHOD_connection_close_ok});
    else if (m->id == METHOD_channel_close)
        client_send(client, channel, &(struct method){.id = METHOD_channel_close_ok});
}

static void on_ended(void *arg)
{
    (void)arg;
}

static const struct client_events events = {on_method, on_ended};

/* Only from queues that are there: what was damaged may have been one. */
static void consume_all(void)
{
    const struct vhost *v = server_find_vhost(&lab->world.server, SLICE("/"));
    for (int i = 0; i < QUEUES; i++) {
        struct method m = {.id = METHOD_basic_consume};
        m.basic_consume.queue = m.basic_consume.consumer_tag = slice_of_string(names[i]);
        if (v && vhost_find_queue(v, m.basic_consume.queue))
            client_send(&lab->client, 1, &m);
    }
    lab->consuming = true;
}

/* --- a life --- */

static void turn(void)
{
    lab->world.now_ns += 25000000;
    client_turn(&lab->client);
    server_act(&lab->world.server);
    fakenet_pump(lab->world.net, &lab->world.server.net);
    server_act(&lab->world.server);
    store_sync_now(lab->world.server.store);
}

/* Turns until nothing has come for a while. */
static void drain(void)
{
    client_connect(&lab->client);
    lab->consuming = false;
    int turns = 0;
    for (int quiet = 0; turns < TURNS_LEAST || quiet < TURNS_QUIET; turns++) {
        unsigned before = lab->sight->deliveries;
        turn();
        if (lab->client.state == CLIENT_OPEN && !lab->consuming && turns > 4)
            consume_all();
        quiet = before == lab->sight->deliveries ? quiet + 1 : 0;
        assertf(turns < TURNS_MAX, "it never comes to an end: %s", lab->what);
    }
}

static void hang_up(void)
{
    client_drop(&lab->client, true);
    for (int i = 0; i < 6; i++)
        turn();
    if (lab->client.state != CLIENT_OFF)
        client_forget(&lab->client);
}

/* What the log calls an error; that there is none when all is well is checked with the first life. */
static void read_log(struct sight *sight, char *text)
{
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, " [error] ") || strstr(line, " [critical] ") ||
            (strstr(line, " [warning] ") && strstr(line, "data/"))) {
            sight->complaints++;
            snprintf(sight->last, sizeof(sight->last), "%s", line);
        }
}

/* Starts the server on what the disk has, and takes all that it gives. */
static void live(struct sight *sight)
{
    struct world *world = &lab->world;
    char *text = NULL;
    size_t size = 0;
    FILE *console = open_memstream(&text, &size);
    assert(console);
    world->console = console;
    lab->sight = sight;
    sight->started = world_open(world);
    if (sight->started) {
        drain();
        hang_up();
        world_close(world);
    }
    world->console = NULL;
    fclose(console);
    read_log(sight, text);
    free(text);
}

static void new_world(void)
{
    world_init(&lab->world, 4, false); /* an even one: queues go to disk after a few messages */
    lab->world.config.log_console = true;
    lab->world.config.queue_resident_messages = 8;
    lab->world.config.queue_page_size = 1500;
    client_init(&lab->client, &lab->world, &events, &lab->client);
}

static void end_world(void)
{
    client_free(&lab->client);
    world_free(&lab->world);
}

/* --- the directory --- */

static void add_queue(struct vhost *v, int i)
{
    struct buf args = {0};
    if (i == 2)
        table_put_int(&args, "x-max-priority", 3);
    if (i == 3) {
        table_put_string(&args, "x-queue-type", SLICE("quorum"));
        table_put_int(&args, "x-delivery-limit", 1000);
    }
    if (i == 4)
        table_put_int(&args, "x-message-ttl", 700);
    if (i == 5)
        table_put_string(&args, "x-group-by", SLICE("header:g"));
    if (i == 6)
        table_put_int(&args, "x-max-length", 20);
    if (i == 4 || i == 6) {
        table_put_string(&args, "x-dead-letter-exchange", SLICE(""));
        table_put_string(&args, "x-dead-letter-routing-key", slice_of_string(names[LETTERS]));
    }
    struct queue_properties properties = {.args = buf_slice(&args), .durable = true};
    struct queue *q = vhost_add_queue(v, slice_of_string(names[i]), &properties, true);
    struct fault f;
    struct exchange *later = vhost_find_exchange(v, SLICE("later"));
    bool good = vhost_bind(v, later, &q->dest, q->name, SLICE(""), true, &f) &&
                (i > 1 || vhost_bind(v, vhost_find_exchange(v, SLICE("amq.fanout")), &q->dest, SLICE(""),
                                     SLICE(""), true, &f));
    assertf(good, "%s", f.text);
    buf_free(&args);
}

static void build(void)
{
    struct vhost *v = server_find_vhost(&lab->world.server, SLICE("/"));
    struct buf args = {0};
    table_put_string(&args, "x-delayed-type", SLICE("direct"));
    struct exchange_properties properties = {
        .type = exchange_type_find(SLICE("x-delayed-message")), .args = buf_slice(&args), .durable = true};
    vhost_add_exchange(v, SLICE("later"), &properties, true);
    buf_free(&args);
    for (int i = 0; i < QUEUES; i++)
        add_queue(v, i);
}

static void publish(uint32_t id)
{
    struct buf headers = {0}, bytes = {0}, body = {0};
    struct method m = {.id = METHOD_basic_publish};
    char expiration[16];
    bool later = id % 11 == 0, both = id % 5 == 0 && !later;
    if (later)
        table_put_int(&headers, "x-delay", 100 + id);
    table_put_string(&headers, "g", id % 2 ? SLICE("odd") : SLICE("even"));
    snprintf(expiration, sizeof(expiration), "%u", 300 + id);
    struct props props = {.flags = PROP_headers | PROP_delivery_mode | PROP_priority,
                          .headers = buf_slice(&headers),
                          .delivery_mode = 2,
                          .priority = (uint8_t)(id % 4)};
    if (id % 8 == 4 && id % 3 == 0)
        props.flags |= PROP_expiration, props.expiration = slice_of_string(expiration);
    props_encode(&bytes, &props);
    fill(id, &body);
    m.basic_publish.exchange = later ? SLICE("later") : both ? SLICE("amq.fanout") : SLICE("");
    m.basic_publish.routing_key = slice_of_string(names[id % (QUEUES - 1)]);
    client_publish(&lab->client, 1, &m, &(struct content){buf_slice(&bytes), buf_slice(&body)});
    buf_free(&headers);
    buf_free(&bytes);
    buf_free(&body);
}

static void collect(void *arg, const char *name)
{
    (void)arg;
    struct file *file = &lab->files[lab->file_count++];
    assert(lab->file_count <= FILES_MAX);
    snprintf(file->path, sizeof(file->path), "data/%s", name);
}

static void make_directory(void)
{
    struct sight made = {0};
    new_world();
    lab->sight = &made;
    lab->making = true;
    bool good = world_open(&lab->world);
    assertf(good, "the server does not start on an empty disk");
    build();
    client_connect(&lab->client);
    while (lab->client.state != CLIENT_OPEN)
        turn();
    for (int i = 0; i < 8; i++)
        turn();
    for (uint32_t id = 0; id < MESSAGES; id++) {
        publish(id);
        if (id % 16 == 0)
            client_turn(&lab->client), fakenet_pump(lab->world.net, &lab->world.server.net),
                server_act(&lab->world.server), store_sync_now(lab->world.server.store);
    }
    consume_all();
    for (int i = 0; i < 6; i++)
        turn();
    hang_up();
    world_close(&lab->world);
    const struct io *io = fakedisk_io(lab->world.disk);
    int failed = io->list(io->arg, "data", collect, NULL);
    assert(!failed);
    for (unsigned i = 0; i < lab->file_count; i++)
        buf_append_slice(&lab->files[i].bytes, fakedisk_get(lab->world.disk, lab->files[i].path));
    lab->making = false;
    end_world();
}

static struct file *file_named(const char *name)
{
    for (unsigned i = 0; i < lab->file_count; i++)
        if (strstr(lab->files[i].path, name))
            return &lab->files[i];
    panic("no file %s", name);
}

/* A life on a copy of the directory, with other bytes in one file; and another one after it. */
static void try(const char *path, struct slice bytes, struct sight *sight)
{
    struct sight again = {0};
    new_world();
    const struct io *io = fakedisk_io(lab->world.disk);
    int failed = io->mkdir(io->arg, "data", 0750);
    assert(!failed);
    for (unsigned i = 0; i < lab->file_count; i++) {
        bool other = path && strcmp(lab->files[i].path, path) == 0;
        fakedisk_put(lab->world.disk, lab->files[i].path, other ? bytes : buf_slice(&lab->files[i].bytes));
    }
    *sight = (struct sight){0};
    live(sight);
    if (sight->started) {
        live(&again);
        /* SQLite looks at its pages as it needs them, so it may find the damage later. */
        assertf(again.started || strstr(again.last, "data/definitions.db: database disk image is malformed"),
                "it does not start again: %s: %s", lab->what, again.last);
    }
    end_world();
}

/* What came of the directory as it was made and did not come now. */
static unsigned count_lost(const struct sight *sight)
{
    unsigned lost = 0;
    for (int i = 0; i < QUEUES; i++)
        for (int id = 0; id < MESSAGES; id++)
            lost += lab->whole.came[i][id] && !sight->came[i][id];
    return lost;
}

/* --- what is changed --- */

struct counts {
    unsigned runs, refused, complained, lossy, lost, skipped;
};

/* `told`: what is lost has to be. A journal that is damaged may forget that a delayed message or a dead
 * letter went on, which is then made of the old one again; and its end may pass for an unfinished write. */
static void judge(const struct sight *sight, bool told, bool journal, struct counts *counts)
{
    unsigned lost = sight->started ? count_lost(sight) : 0;
    counts->runs++;
    if (verbose)
        printf("%s: %s%u lost: %s\n", lab->what, sight->started ? "" : "refused, ", lost, sight->last);
    counts->refused += !sight->started;
    counts->complained += sight->complaints > 0;
    counts->lossy += lost > 0;
    counts->lost += lost;
    assertf(!told || !lost || sight->complaints, "%u messages are lost without a word: %s", lost, lab->what);
    assertf(!sight->again || journal, "%s came again, not flagged: %s", sight->repeat, lab->what);
}

/* Bytes of a file. */
static void change_bytes(struct counts *counts)
{
    struct file *file = &lab->files[rand_below(&lab->rand, lab->file_count)];
    struct buf copy = {0};
    struct sight sight;
    if (file->bytes.len == 0)
        return;
    buf_append_slice(&copy, buf_slice(&file->bytes));
    size_t at = (size_t)rand_below(&lab->rand, copy.len), count = 1;
    for (int i = 0; i < 40 && copy.at[at] == 0; i++)
        at = (size_t)rand_below(&lab->rand, copy.len);
    switch (rand_below(&lab->rand, 8)) {
    case 0:
        copy.len = at;
        break;
    case 1:
    case 2:
        count = (size_t)rand_below(&lab->rand, copy.len - at < 4096 ? copy.len - at : 4096);
        memset(copy.at + at, rand_below(&lab->rand, 2) ? 0 : 0xff, count);
        break;
    case 3:
        copy.at[at] = (uint8_t)rand_u64(&lab->rand);
        break;
    default:
        copy.at[at] ^= (uint8_t)(1u << rand_below(&lab->rand, 8));
    }
    snprintf(lab->what, sizeof(lab->what), "%s changed at %zu, %zu bytes, now %zu bytes long, %02x there",
             file->path, at, count, copy.len, at < copy.len ? copy.at[at] : 0);
    try(file->path, buf_slice(&copy), &sight);
    judge(&sight, strstr(file->path, "pages-"), strstr(file->path, "journal-"), counts);
    buf_free(&copy);
}

static void try_field(struct alter *alter, struct counts *counts)
{
    sqlite3 *db = alter_open(buf_slice(&file_named("definitions.db")->bytes));
    struct sight sight;
    alter->rand = &lab->rand;
    bool changed = alter_field(alter, db);
    struct slice bytes = alter_close(&db);
    snprintf(lab->what, sizeof(lab->what), "%s", alter->what);
    if (changed) {
        try("data/definitions.db", bytes, &sight);
        bool page = strcmp(alter->table, "page") == 0;
        judge(&sight, page, false, counts);
        assertf(page || sight.complaints || !sight.started, "nothing is said of %s", lab->what);
    } else {
        counts->skipped++;
    }
    sqlite3_free((void *)(uintptr_t)bytes.at);
}

static const char *const tables[] = {"page",       "page",    "page",  "page",    "vhost",
                                     "user",       "permission", "exchange", "queue", "queue",
                                     "binding",    "meta"};

static void measure(const char *table, uint64_t *rows, int *columns)
{
    sqlite3 *db = alter_open(buf_slice(&file_named("definitions.db")->bytes));
    *rows = alter_rows(db, table);
    *columns = alter_columns(db, table);
    assertf(*rows > 0 && *columns > 0, "%s is empty", table);
    sqlite3_close(db);
}

static void change_some_field(struct counts *counts)
{
    struct alter alter = {.table = tables[rand_below(&lab->rand, array_size(tables))]};
    uint64_t rows;
    int columns;
    measure(alter.table, &rows, &columns);
    alter.row = rand_below(&lab->rand, rows);
    alter.column = (int)rand_below(&lab->rand, (uint64_t)columns);
    alter.value = (unsigned)rand_below(&lab->rand, ALTER_VALUES);
    try_field(&alter, counts);
}

static void change_all_fields(struct counts *counts)
{
    for (size_t t = 0; t < array_size(tables); t++) {
        struct alter alter = {.table = tables[t]};
        uint64_t rows;
        int columns;
        if (t > 0 && strcmp(tables[t], tables[t - 1]) == 0)
            continue;
        measure(alter.table, &rows, &columns);
        for (alter.row = 0; alter.row < rows; alter.row++)
            for (alter.column = 0; alter.column < columns; alter.column++)
                for (alter.value = 0; alter.value < ALTER_VALUES; alter.value++)
                    try_field(&alter, counts);
        printf("%s: %llu rows of %d fields\n", tables[t], (unsigned long long)rows, columns);
    }
}

/* --- the program --- */

static void on_signal(int signal)
{
    fflush(stdout);
    if (lab)
        fprintf(stderr, "--- %s\n--- again: sim_damage --seed %llu --runs 1\n", lab->what,
                (unsigned long long)lab->seed);
    lab = NULL;
    _exit(128 + signal);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void report(const char *what, const struct counts *c)
{
    printf("%s: %u changes, %u starts refused, %u complained, %u lost something, %u messages; %u values that "
           "cannot be\n", what, c->runs, c->refused, c->complained, c->lossy, c->lost, c->skipped);
}

int main(int argc, char **argv)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 0;
    bool slow = __sanitizer_set_death_callback != NULL, every = false;
    unsigned runs = 0;
    struct counts fields = {0}, bytes = {0};
    for (int i = 1; i < argc; i++) {
        struct slice option = slice_of_string(argv[i]);
        if (slice_is(option, "--all"))
            every = true;
        else if (slice_is(option, "--verbose"))
            verbose = true;
        else if (slice_is(option, "--seed") && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else if (slice_is(option, "--runs") && i + 1 < argc)
            runs = (unsigned)strtoul(argv[++i], NULL, 10);
        else
            return 2;
    }
    runs = runs ? runs : slow ? RUNS_SLOW : RUNS;
    seed = seed ? seed : 1;
    lab = mem_zalloc(sizeof(*lab));
    signal(SIGABRT, on_signal);
    make_directory();
    snprintf(lab->what, sizeof(lab->what), "nothing");
    try(NULL, SLICE(""), &lab->whole);
    assertf(lab->whole.started && !lab->whole.complaints, "%s", lab->whole.last);
    for (unsigned i = 0; i < runs && !every; i++) {
        lab->seed = seed + i;
        lab->rand = rand_seeded(lab->seed);
        if (rand_below(&lab->rand, 3))
            change_some_field(&fields);
        else
            change_bytes(&bytes);
    }
    if (every)
        change_all_fields(&fields);
    printf("%u deliveries when nothing is changed\n", lab->whole.deliveries);
    report("fields of rows", &fields);
    report("bytes of files", &bytes);
    printf("%u passed, 0 failed\n", fields.runs + bytes.runs);
    for (unsigned i = 0; i < lab->file_count; i++)
        buf_free(&lab->files[i].bytes);
    mem_free(lab);
    lab = NULL;
    return 0;
}
