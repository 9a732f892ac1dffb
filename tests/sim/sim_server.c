/* sim_server.c - the whole server, simulated: random clients on a fake network, a fake disk that
 * lags and forgets, kills and restarts at random moments, and after each of them a comparison with
 * what was promised. One seed is one run.
 *
 * sim_server [--seed N] [--runs N] [--steps N] [--verbose]
 * Without a seed (nor SEED in the environment) it runs the regression seeds and then seeds 1 … N.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/vhost.h"
#include "tests/sim/actor.h"
#include "tests/sim/damage.h"
#include "tests/sim/invariants.h"

enum { ACTORS_MAX = 5, STEPS = 900, RUNS = 400, RUNS_SLOW = 60, QUIET_TURNS_MAX = 30000 };

struct simulation {
    struct world world;
    struct model model;
    struct actor actors[ACTORS_MAX];
    unsigned actor_count;
    uint64_t crashes, stops, failures, jumps, refusals; /* the last: reads and opens that failed */
    struct rand damage_rand; /* of its own: a seed's other events do not depend on it */
    struct damage_counts damages;
};

static struct simulation *current; /* for the last words */

/* --- turns --- */

static void crash(struct simulation *sim);

/* A page that cannot be read is left out until the next start, which finds it again: nobody looks before. */
static bool turn_fails(struct simulation *sim)
{
    uint64_t refused = fakedisk_refused(sim->world.disk);
    world_turn(&sim->world);
    if (fakedisk_refused(sim->world.disk) == refused)
        return false;
    trace_line(&sim->world.trace, "a read or an open has failed");
    sim->refusals++;
    crash(sim);
    return true;
}

static void turn(struct simulation *sim)
{
    for (unsigned i = 0; i < sim->actor_count; i++)
        actor_turn(&sim->actors[i]);
    if (turn_fails(sim))
        return;
    invariants_check(&sim->world.server, world_chance(&sim->world, 4));
    for (unsigned i = 0; i < sim->actor_count; i++)
        actor_look(&sim->actors[i]);
}

/* Turns with a disk that keeps up and clients that listen. */
static void calm_turn(struct simulation *sim)
{
    for (unsigned i = 0; i < sim->actor_count; i++)
        sim->actors[i].client.deaf = 0;
    turn(sim);
    store_sync_now(sim->world.server.store);
}

static bool all(const struct simulation *sim, bool (*is)(const struct actor *actor))
{
    for (unsigned i = 0; i < sim->actor_count; i++)
        if (!is(&sim->actors[i]) && !actor_is_off(&sim->actors[i]))
            return false;
    return true;
}

/* A connection that has begun to end is not asked to be quiet. */
static bool is_settled(const struct actor *actor)
{
    return actor_is_quiet(actor) || actor->closing || actor->dying ||
           actor->client.state != CLIENT_OPEN;
}

static bool is_quiet_server(const struct server *s)
{
    return s->home.outcomes.fresh.size == 0 && !giveback_is_busy(&s->giving) &&
           list_empty(&s->home.graveyard) &&
           list_empty(&s->doomed) && net_is_idle(&s->net);
}

/* Everything that was asked is answered; then all leave, and the memory is compared. */
static void quiesce(struct simulation *sim)
{
    struct server *s = &sim->world.server;
    int turns = 0;
    fakedisk_serve(sim->world.disk);
    trace_line(&sim->world.trace, "all is to come to rest");
    while (!all(sim, is_settled) || !list_empty(&s->home.ready)) {
        calm_turn(sim);
        assertf(++turns < QUIET_TURNS_MAX, "some requests are never answered");
    }
    for (turns = 0; !all(sim, actor_is_off) || !list_empty(&s->connections) || !is_quiet_server(s);
         turns++) {
        for (unsigned i = 0; i < sim->actor_count; i++)
            if (sim->actors[i].client.state == CLIENT_OPEN && !sim->actors[i].closing)
                actor_leave(&sim->actors[i]);
        calm_turn(sim);
        assertf(turns < QUIET_TURNS_MAX, "some connections never end");
    }
    world_sync(&sim->world);
    invariants_check(s, true);
    model_check_memory(&sim->model, false);
}

/* --- ends of the server --- */

/* One of the next so many reads or opens fails. */
static void arm(struct simulation *sim, uint64_t most)
{
    struct rand *rand = &sim->damage_rand;
    uint64_t soon = 1 + rand_below(rand, most);
    if (rand_below(rand, 2))
        fakedisk_fail_read(sim->world.disk, soon, EIO);
    else
        fakedisk_fail_open(sim->world.disk, soon);
}

/* A read, or an open, fails once while the server recovers. It serves the rest or refuses; and when it is
 * started again, with a disk that has thought better of it, all is there. */
static void refuse_reads(struct simulation *sim)
{
    struct world *world = &sim->world;
    arm(sim, 60);
    bool up = world_open(world);
    sim->refusals++;
    if (up)
        world_crash(world, FAKEDISK_LOSE_NONE);
    else
        fakedisk_crash(world->disk, FAKEDISK_LOSE_NONE);
}

static void reopen(struct simulation *sim)
{
    struct world *world = &sim->world;
    fakedisk_serve(world->disk);
    damage_try(world->disk, world->config.data_dir, WORLD_SEGMENT_BYTES, &sim->damage_rand, &sim->damages);
    if (world_chance(world, 6)) { /* it may die while it recovers, too */
        fakedisk_fail_at(world->disk, fakedisk_changes(world->disk) + 1 + world_pick(world, 12),
                         EIO, true);
        if (world_open(world))
            world_crash(world, FAKEDISK_LOSE_SOME);
        else
            fakedisk_crash(world->disk, FAKEDISK_LOSE_SOME);
    }
    if (rand_below(&sim->damage_rand, 4) == 0)
        refuse_reads(sim);
    bool good = world_open(world);
    assertf(good, "the server does not start");
    invariants_check(&world->server, true);
    model_check_memory(&sim->model, true);
}

static void crash(struct simulation *sim)
{
    struct world *world = &sim->world;
    enum fakedisk_loss loss = (enum fakedisk_loss)world_pick(world, 3);
    trace_line(&world->trace, "crash, %s of what was not synced is lost",
               loss == FAKEDISK_LOSE_ALL    ? "all"
               : loss == FAKEDISK_LOSE_SOME ? "some"
                                            : "nothing");
    uint64_t durable = world_crash(world, loss);
    for (unsigned i = 0; i < sim->actor_count; i++)
        actor_bury(&sim->actors[i]);
    model_crash(&sim->model, durable);
    sim->crashes++;
    reopen(sim);
}

/* An orderly end, with clients that answer or do not. */
static void stop(struct simulation *sim)
{
    struct world *world = &sim->world;
    struct server *s = &world->server;
    trace_line(&world->trace, "the server stops");
    fakedisk_fail_at(world->disk, 0, 0, false);
    fakedisk_serve(world->disk);
    server_stop(s);
    for (int turns = 0; !list_empty(&s->connections); turns++) {
        turn(sim);
        assertf(turns < QUIET_TURNS_MAX, "the server does not come to an end");
    }
    while (!all(sim, actor_is_off))
        calm_turn(sim);
    world_close(world);
    model_crash(&sim->model, UINT64_MAX);
    sim->stops++;
    reopen(sim);
}

/* Soon a call of the disk fails, and all after it. */
static void break_disk(struct simulation *sim)
{
    struct world *world = &sim->world;
    int error = world_chance(world, 2) ? EIO : ENOSPC;
    if (error == EIO && rand_below(&sim->damage_rand, 4) == 0)
        error = EINTR; /* of a sync: any other call is repeated below the table */
    uint64_t at = fakedisk_changes(world->disk) + 1 + world_pick(world, 30);
    trace_line(&world->trace, "the disk fails with %d soon", error);
    fakedisk_fail_at(world->disk, at, error, true);
    sim->failures++;
}

/* Somebody sets the wall clock, by up to three years: deadlines are three times as far. */
static void set_clock(struct simulation *sim)
{
    if (rand_below(&sim->damage_rand, 300) > 0)
        return;
    int64_t years_us = 3ll * 365 * 24 * 3600 * 1000000;
    sim->world.jump_us = (int64_t)rand_below(&sim->damage_rand, 2 * (uint64_t)years_us) - years_us;
    sim->jumps++;
}

/* Reads are cut short or not; and now and then one fails. */
static void disturb_reads(struct simulation *sim)
{
    uint64_t dice = rand_below(&sim->damage_rand, 250);
    if (dice < 2)
        fakedisk_short_reads(sim->world.disk, dice == 0);
    else if (dice == 2)
        arm(sim, 3);
}

static void disturb(struct simulation *sim)
{
    struct world *world = &sim->world;
    set_clock(sim);
    disturb_reads(sim);
    static const unsigned lags[] = {1, 2, 4, 16, 64, 0};
    if (store_failed(world->server.store)) {
        crash(sim); /* the process would have ended itself */
        return;
    }
    if (store_full(world->server.store) && world_chance(world, 40)) {
        trace_line(&world->trace, "the disk has space again");
        fakedisk_fail_at(world->disk, 0, 0, false);
    }
    switch (world_pick(world, 400)) {
    case 0:
        crash(sim);
        break;
    case 1:
        crash(sim);
        break;
    case 2:
        stop(sim);
        break;
    case 3:
        break_disk(sim);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        world->lag = lags[world_pick(world, array_size(lags))];
        break;
    case 8:
        fakedisk_short_writes(world->disk, world_chance(world, 2));
        break;
    default:
        break;
    }
}

/* --- runs --- */

struct run_result {
    uint64_t hash, events, turns, crashes, stops, failures, jumps, refusals;
    struct model_counts counts;
    struct damage_counts damages;
};

static void open_simulation(struct simulation *sim, uint64_t seed, bool verbose)
{
    world_init(&sim->world, seed, verbose);
    sim->damage_rand = rand_seeded(seed);
    model_init(&sim->model, &sim->world);
    sim->model.floods = world_chance(&sim->world, 16);
    sim->actor_count = 2 + (unsigned)world_pick(&sim->world, ACTORS_MAX - 1);
    for (unsigned i = 0; i < sim->actor_count; i++)
        actor_init(&sim->actors[i], &sim->world, &sim->model, i);
    bool good = world_open(&sim->world);
    assertf(good, "the server does not start on an empty disk");
}

static void close_simulation(struct simulation *sim)
{
    fakedisk_fail_at(sim->world.disk, 0, 0, false);
    world_close(&sim->world);
    for (unsigned i = 0; i < sim->actor_count; i++)
        actor_free(&sim->actors[i]);
    model_free(&sim->model);
    world_free(&sim->world);
}

static struct run_result run(uint64_t seed, unsigned steps, bool verbose)
{
    struct simulation *sim = mem_zalloc(sizeof(*sim));
    current = sim;
    open_simulation(sim, seed, verbose);
    for (unsigned step = 0; step < steps; step++) {
        for (unsigned i = 0; i < sim->actor_count; i++)
            if (world_chance(&sim->world, 2))
                actor_step(&sim->actors[i]);
        turn(sim);
        disturb(sim);
    }
    if (store_failed(sim->world.server.store))
        crash(sim);
    fakedisk_fail_at(sim->world.disk, 0, 0, false);
    quiesce(sim);
    crash(sim);
    struct run_result outcome = {
        sim->world.trace.hash, sim->world.trace.count, sim->world.turns, sim->crashes, sim->stops,
        sim->failures,         sim->jumps,            sim->refusals,     sim->model.counts,
        sim->damages};
    close_simulation(sim);
    current = NULL;
    mem_free(sim);
    return outcome;
}

/* --- the program --- */

static void last_words(void)
{
    if (!current)
        return;
    fflush(stdout);
    fprintf(stderr, "--- the last events of seed %llu\n", (unsigned long long)current->world.seed);
    trace_print(&current->world.trace, stderr);
    fprintf(stderr, "--- again: sim_server --seed %llu --verbose\n",
            (unsigned long long)current->world.seed);
    current = NULL;
}

static void on_signal(int signal)
{
    last_words();
    _exit(128 + signal);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

struct arguments {
    uint64_t seed;
    unsigned runs, steps;
    bool verbose;
};

static bool parse(int argc, char **argv, struct arguments *args)
{
    const char *seed = getenv("SEED");
    args->seed = seed ? strtoull(seed, NULL, 10) : 0;
    for (int i = 1; i < argc; i++) {
        struct slice option = slice_of_string(argv[i]);
        uint64_t value = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;
        if (slice_is(option, "--verbose"))
            args->verbose = true;
        else if (i + 1 == argc)
            return false;
        else if (slice_is(option, "--seed"))
            args->seed = value, i++;
        else if (slice_is(option, "--runs"))
            args->runs = (unsigned)value, i++;
        else if (slice_is(option, "--steps"))
            args->steps = (unsigned)value, i++;
        else
            return false;
    }
    return true;
}

static void add(struct run_result *sum, const struct run_result *one)
{
    sum->turns += one->turns, sum->events += one->events;
    sum->jumps += one->jumps, sum->refusals += one->refusals;
    sum->crashes += one->crashes, sum->stops += one->stops, sum->failures += one->failures;
    sum->counts.published += one->counts.published, sum->counts.confirmed += one->counts.confirmed;
    sum->counts.delivered += one->counts.delivered,
        sum->counts.redelivered += one->counts.redelivered;
    sum->counts.settled += one->counts.settled, sum->counts.returned += one->counts.returned;
    sum->counts.flagged_unseen += one->counts.flagged_unseen;
    sum->counts.buried += one->counts.buried;
    sum->counts.repeated += one->counts.repeated;
    sum->counts.limited += one->counts.limited;
    sum->counts.paged += one->counts.paged;
    sum->damages.flips += one->damages.flips, sum->damages.noted += one->damages.noted;
    sum->damages.lost += one->damages.lost, sum->damages.again += one->damages.again;
    sum->damages.cut += one->damages.cut;
    sum->counts.musts += one->counts.musts, sum->counts.checked += one->counts.checked;
}

static void report(const struct run_result *sum, unsigned runs)
{
    const struct model_counts *c = &sum->counts;
    printf("%u runs: %llu turns, %llu crashes, %llu stops, %llu failures of the disk, "
           "%llu jumps of the clock, %llu times a read or an open failed\n", runs,
           (unsigned long long)sum->turns, (unsigned long long)sum->crashes,
           (unsigned long long)sum->stops, (unsigned long long)sum->failures,
           (unsigned long long)sum->jumps, (unsigned long long)sum->refusals);
    printf("%llu published, %llu confirmed, %llu returned, %llu delivered (%llu again), %llu "
           "settled\n",
           (unsigned long long)c->published, (unsigned long long)c->confirmed,
           (unsigned long long)c->returned, (unsigned long long)c->delivered,
           (unsigned long long)c->redelivered, (unsigned long long)c->settled);
    printf("%llu of %llu places were sure to hold their message, %llu messages were flagged though "
           "never read\n",
           (unsigned long long)c->musts, (unsigned long long)c->checked,
           (unsigned long long)c->flagged_unseen);
    printf("%llu times a dead letter was sure to be where it belongs, %llu came back too often\n"
           "%llu messages were published and confirmed again, and nothing came of it\n",
           (unsigned long long)c->buried, (unsigned long long)c->limited, (unsigned long long)c->repeated);
    const struct damage_counts *d = &sum->damages;
    printf("%llu messages were found in pages; %llu bits were flipped, %llu of them named, %llu taken for an "
           "unfinished write: %llu messages lost with their record, %llu acked ones came again, flagged\n",
           (unsigned long long)c->paged, (unsigned long long)d->flips, (unsigned long long)d->noted,
           (unsigned long long)d->cut, (unsigned long long)d->lost, (unsigned long long)d->again);
}

/* Seeds that found something in the broker, and would again: each is run twice, for it must be one run. */
static const uint64_t regressions[] = {
    2,    /* a killed server deleted its durable auto-delete queues after its store was gone */
    43,   /* a publisher was paced by a queue that its own next frame had deleted */
    61,   /* a definition that a killed process had left to the kernel was served, then lost with the power */
    88,   /* a free slot of a channel's prefetch was left to a consumer that could not use it */
    80, 290, 1210, /* a page held a transaction's messages on disk, and the rest of it was lost */
    150,  /* the same of a message and the note of it: it was taken twice */
    1380, /* a page file was used whose name could not be synced for lack of space */
    2363, /* tx.commit waited for a batch that stayed empty */
    30030, /* a page that could not be read when its file was emptied was lost with that */
    50214, /* a message that was moved within the journal lost the flag that a restart had given it */
};

int main(int argc, char **argv)
{
    bool slow = __sanitizer_set_death_callback != NULL;
    struct arguments args = {.steps = STEPS};
    struct run_result sum = {0};
    if (!parse(argc, argv, &args)) {
        fprintf(stderr, "usage: sim_server [--seed N] [--runs N] [--steps N] [--verbose]\n");
        return 2;
    }
    signal(SIGABRT, on_signal);
    if (args.runs == 0)
        args.runs = args.seed ? 1 : slow ? RUNS_SLOW : RUNS;
    if (slow)
        __sanitizer_set_death_callback(last_words);
    unsigned done = 0;
    for (size_t i = 0; !args.seed && i < array_size(regressions); i++) {
        struct run_result first = run(regressions[i], args.steps, args.verbose);
        struct run_result again = run(regressions[i], args.steps, args.verbose);
        assertf(first.hash == again.hash && first.events == again.events,
                "seed %llu is not one run", (unsigned long long)regressions[i]);
        done += 2;
        add(&sum, &first);
    }
    uint64_t seed = args.seed ? args.seed : 1;
    for (unsigned i = 0; i < args.runs; i++, done++) {
        struct run_result one = run(seed + i, args.steps, args.verbose);
        add(&sum, &one);
    }
    report(&sum, done);
    printf("%u passed, 0 failed\n", done);
    return 0;
}
