/* world.c - everything around a simulated server.
 *
 * Nothing here or below asks the machine for time, chance or its name: a seed is the same run
 * everywhere. */
#include "tests/sim/world.h"

#include <string.h>
#include <unistd.h>

#include "broker/connection.h"
#include "broker/vhost.h"

enum { PIPE_BYTES_LEAST = 512, PIPE_BYTES_MOST = 96 * 1024 };

/* connection.start carries the host's name: a name of another length would be another run. */
int gethostname(char *name, size_t size)
{
    static const char fixed[] = "simulated";
    if (size > 0)
        name[0] = 0;
    if (size >= sizeof(fixed))
        memcpy(name, fixed, sizeof(fixed));
    return 0;
}

static uint64_t monotonic_ns(void *arg)
{
    return ((struct world *)arg)->now_ns;
}

static uint64_t wall_us(void *arg)
{
    const struct world *world = arg;
    return 1700000000000000u + (uint64_t)world->jump_us + world->now_ns / 1000;
}

/* In every second world queues go to disk after a few messages; in every fourth there is no memory for them
 * either. Not by chance: a seed's other events stay what they were. */
static void use_pages(struct world *world)
{
    if (world->seed % 2)
        return;
    world->config.queue_resident_messages = 2 + (uint32_t)(world->seed / 2 % 29);
    world->config.queue_page_size = 1024 + (uint32_t)(world->seed / 2 % 7) * 700;
    if (world->seed % 4 == 0)
        world->config.resident_memory = 1024;
}

void world_init(struct world *world, uint64_t seed, bool verbose)
{
    *world = (struct world){.seed = seed, .rand = rand_seeded(seed), .lag = 4};
    world->net_rand = rand_seeded(rand_u64(&world->rand));
    world->disk = fakedisk_new(rand_u64(&world->rand));
    size_t range = PIPE_BYTES_MOST - PIPE_BYTES_LEAST;
    size_t pipe = PIPE_BYTES_LEAST + world_pick(world, world_chance(world, 2) ? range : 4096);
    world->net = fakenet_new(&world->net_rand, pipe);
    world->now_ns = 1000000000;
    world->log = verbose;
    trace_init(&world->trace, verbose);
    config_defaults(&world->config);
    memcpy(world->config.data_dir, "data", 5);
    world->config.log_console = verbose;
    world->late_letters = world->seed % 3 == 0;
    use_pages(world);
}

void world_free(struct world *world)
{
    assert(!world->up);
    fakenet_free(&world->net);
    fakedisk_free(&world->disk);
}

/* A queue for dead letters, which is there from the beginning and for ever. */
static void make_tomb(struct server *s)
{
    struct vhost *v = server_find_vhost(s, SLICE("/"));
    struct queue_properties properties = {.durable = true};
    if (v && !vhost_find_queue(v, SLICE("tomb")))
        vhost_add_queue(v, SLICE("tomb"), &properties, true);
}

bool world_open(struct world *world)
{
    assert(!world->up);
    struct server_options options = {
        .config = &world->config,
        .clock = {monotonic_ns, wall_us, world},
        .rand = rand_seeded(rand_u64(&world->rand)),
        .io = fakedisk_io(world->disk),
        .console = world->log ? stderr : world->console,
        .simulated = true,
        .segment_bytes = WORLD_SEGMENT_BYTES,
        .dead_letters_max = world->late_letters,
        .giveback_max = world->seed % 4 < 3 ? 1 + world->seed % 7 : 0, /* a requeue takes several turns */
    };
    world->lives++;
    world->up = server_open(&world->server, &options);
    world->server.home.mover.looks_max = 1 + (unsigned)(world->seed % 5); /* not all queues in one turn */
    if (!world->up)
        server_close(&world->server);
    else
        make_tomb(&world->server);
    return world->up;
}

static void pass_time(struct world *world)
{
    uint64_t ms = world_pick(world, 4);
    if (world_chance(world, 64))
        ms = world_pick(world, 2500);
    if (world_chance(world, 1024))
        ms = world_pick(world, 12000);
    world->now_ns += ms * 1000000;
}

void world_turn(struct world *world)
{
    assert(world->up);
    world->turns++;
    pass_time(world);
    fakenet_pump(world->net, &world->server.net);
    server_act(&world->server);
    if (world->lag && world_chance(world, world->lag))
        store_sync_now(world->server.store);
}

void world_sync(struct world *world)
{
    struct server *s = &world->server;
    for (int i = 0; i < 4 && !store_failed(s->store); i++) {
        store_sync_now(s->store);
        server_act(s);
    }
}

uint64_t world_crash(struct world *world, enum fakedisk_loss loss)
{
    assert(world->up);
    uint64_t durable = store_durable(world->server.store);
    server_abandon(&world->server);
    fakedisk_crash(world->disk, loss);
    world->up = false;
    return durable;
}

void world_close(struct world *world)
{
    assert(world->up);
    server_close(&world->server);
    world->up = false;
}

struct connection *world_connection(const struct world *world, uint64_t id)
{
    list_each (node, &world->server.connections) {
        struct connection *conn = container_of(node, struct connection, link);
        if (conn->id == id)
            return conn;
    }
    return NULL;
}
