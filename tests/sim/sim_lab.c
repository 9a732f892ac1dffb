/* sim_lab.c - the laboratory: queues with delays, retries, groups, deduplication, dead-letter
 * ladders, limits and expiry by chance, over a network, disk and clock that are made up; crashes
 * and lost power. One seed is one run.
 *
 * sim_lab [--seed N] [--runs N] [--steps N] [--verbose]
 * Without a seed (nor SEED in the environment) it runs the regression seeds and then seeds 1 … N.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/sim/invariants.h"
#include "tests/sim/lab.h"

enum { STEPS = 700, RUNS = 300, RUNS_SLOW = 40, QUIET_TURNS_MAX = 30000, WAIT_TURNS_MAX = 20000 };

/* What they found is a line in the history of the sources. */
static const uint64_t regressions[] = {586};

struct result {
    struct lab_counts counts;
    uint64_t hash, turns, crashes, stops, failures, refusals; /* the last: reads and opens that failed */
};

static struct world *current; /* for the last words */
static struct rand read_rand; /* of its own: a seed's other events do not depend on it */

static void look(struct lab *lab)
{
    invariants_check(&lab->world->server, false);
    for (unsigned i = 0; i < lab->user_count; i++)
        lab_user_look(&lab->users[i]);
    lab_levels_look(lab);
}

static void act(struct lab *lab)
{
    for (unsigned i = 0; i < lab->user_count; i++)
        lab_user_turn(&lab->users[i]);
    world_turn(lab->world);
}

static void turn(struct lab *lab, bool calm)
{
    for (unsigned i = 0; calm && i < lab->user_count; i++)
        lab->users[i].client.deaf = 0;
    act(lab);
    look(lab);
    if (calm)
        store_sync_now(lab->world->server.store);
}

static bool all(const struct lab *lab, bool (*is)(const struct lab_user *user))
{
    for (unsigned i = 0; i < lab->user_count; i++)
        if (!is(&lab->users[i]))
            return false;
    return true;
}

/* No time passes, and all that is on its way to the disk, or wanted from there, comes. */
static void settle(struct world *world)
{
    for (int i = 0; i < 200; i++)
        server_act(&world->server), store_sync_now(world->server.store);
}

/* Everybody leaves, and what is there is counted. */
static void quiesce(struct lab *lab)
{
    struct server *s = &lab->world->server;
    trace_line(&lab->world->trace, "all is to come to rest");
    for (int turns = 0; !all(lab, lab_user_is_quiet); turns++) {
        turn(lab, true);
        assertf(turns < QUIET_TURNS_MAX, "some publishes are never confirmed");
    }
    for (int turns = 0; turns < 3; turns++)
        turn(lab, true); /* what was written is read */
    for (unsigned i = 0; i < lab->user_count; i++)
        client_drop(&lab->users[i].client, false);
    for (int turns = 0; !all(lab, lab_user_is_off) || !list_empty(&s->connections); turns++) {
        turn(lab, true);
        assertf(turns < QUIET_TURNS_MAX, "some connections never end");
    }
    turn(lab, true);
    settle(lab->world);
    lab_check(lab, false);
}

/* Nobody is there, and what is delayed comes. */
static void wait_for_all(struct lab *lab)
{
    for (int turns = 0; lab->world->server.home.delays.count > 0; turns++) {
        turn(lab, true);
        assertf(turns < WAIT_TURNS_MAX, "%zu messages wait for ever",
                lab->world->server.home.delays.count);
    }
    turn(lab, true);
    settle(lab->world);
    lab_check(lab, false);
}

/* One of the next so many reads or opens fails. */
static void arm(const struct world *world, uint64_t most)
{
    uint64_t soon = 1 + rand_below(&read_rand, most);
    if (rand_below(&read_rand, 2))
        fakedisk_fail_read(world->disk, soon, EIO);
    else
        fakedisk_fail_open(world->disk, soon);
}

/* So while it recovers: it serves the rest or refuses, and the next start finds all. */
static void refuse_reads(struct world *world)
{
    arm(world, 60);
    if (world_open(world))
        world_crash(world, FAKEDISK_LOSE_NONE);
    else
        fakedisk_crash(world->disk, FAKEDISK_LOSE_NONE);
}

static void reopen(struct lab *lab, struct result *result)
{
    struct world *world = lab->world;
    if (rand_below(&read_rand, 4) == 0) {
        refuse_reads(world);
        result->refusals++;
    }
    if (world_chance(world, 6)) { /* it may die while it recovers, too */
        fakedisk_fail_at(world->disk, fakedisk_changes(world->disk) + 1 + world_pick(world, 12),
                         EIO, true);
        if (world_open(world))
            world_crash(world, FAKEDISK_LOSE_SOME);
        else
            fakedisk_crash(world->disk, FAKEDISK_LOSE_SOME);
    }
    bool good = world_open(world);
    assertf(good, "the server does not start");
    settle(world); /* what is over a limit leaves */
    lab_check(lab, true);
}

static void crash(struct lab *lab, struct result *result)
{
    enum fakedisk_loss loss = (enum fakedisk_loss)world_pick(lab->world, 3);
    trace_line(&lab->world->trace, "crash, %d", (int)loss);
    world_crash(lab->world, loss);
    for (unsigned i = 0; i < lab->user_count; i++)
        lab_user_bury(&lab->users[i]);
    result->crashes++;
    reopen(lab, result);
}

static void stop(struct lab *lab, struct result *result)
{
    struct server *s = &lab->world->server;
    fakedisk_fail_at(lab->world->disk, 0, 0, false);
    trace_line(&lab->world->trace, "the server stops");
    server_stop(s);
    for (int turns = 0; !list_empty(&s->connections); turns++) {
        turn(lab, false);
        assertf(turns < QUIET_TURNS_MAX, "the server does not come to an end");
    }
    world_close(lab->world);
    for (unsigned i = 0; i < lab->user_count; i++)
        lab_user_bury(&lab->users[i]);
    result->stops++;
    reopen(lab, result);
}

/* Soon a call of the disk fails, and all after it. */
static void break_disk(struct lab *lab, struct result *result)
{
    struct world *world = lab->world;
    int error = world_chance(world, 2) ? EIO : ENOSPC;
    trace_line(&world->trace, "the disk fails with %d soon", error);
    fakedisk_fail_at(world->disk, fakedisk_changes(world->disk) + 1 + world_pick(world, 30), error, true);
    result->failures++;
}

/* Whole again; a process that could not write has ended itself before. */
static void mend_disk(struct lab *lab, struct result *result)
{
    fakedisk_fail_at(lab->world->disk, 0, 0, false);
    if (store_failed(lab->world->server.store))
        crash(lab, result);
}

static void disturb(struct lab *lab, struct result *result)
{
    static const unsigned lags[] = {1, 2, 4, 16, 64, 0};
    struct world *world = lab->world;
    if (store_failed(world->server.store)) {
        crash(lab, result);
        return;
    }
    if (store_full(world->server.store) && world_chance(world, 40)) {
        trace_line(&world->trace, "%s", "the disk has space again");
        fakedisk_fail_at(world->disk, 0, 0, false);
    }
    switch (world_pick(world, 300)) {
    case 0:
    case 1:
        crash(lab, result);
        break;
    case 2:
        stop(lab, result);
        break;
    case 3:
        mend_disk(lab, result);
        quiesce(lab);
        break;
    case 4:
    case 5:
        world->lag = lags[world_pick(world, array_size(lags))];
        break;
    case 6:
        break_disk(lab, result);
        break;
    case 7:
    case 8:
    case 9:
        lab_govern(lab);
        break;
    default:
        break;
    }
}

static struct result run(uint64_t seed, unsigned steps, bool verbose)
{
    struct world *world = mem_zalloc(sizeof(*world));
    struct lab *lab = mem_zalloc(sizeof(*lab));
    struct result result = {0};
    current = world;
    world_init(world, seed, verbose);
    read_rand = rand_seeded(~seed);
    fakedisk_short_reads(world->disk, rand_below(&read_rand, 2));
    lab_init(lab, world);
    lab_describe(lab);
    bool good = world_open(world);
    assertf(good, "the server does not start on an empty disk");
    lab_build(lab);
    for (unsigned step = 0; step < steps; step++) {
        for (unsigned i = 0; i < lab->user_count; i++)
            if (world_chance(world, 2))
                lab_user_step(&lab->users[i]);
        if (rand_below(&read_rand, 100) == 0)
            arm(world, 3);
        uint64_t refused = fakedisk_refused(world->disk);
        act(lab);
        if (fakedisk_refused(world->disk) > refused) {
            result.refusals++;
            crash(lab, &result); /* a page that cannot be read is left out until the next start */
        } else {
            look(lab);
        }
        fakedisk_serve(world->disk);
        disturb(lab, &result);
    }
    mend_disk(lab, &result);
    quiesce(lab);
    crash(lab, &result);
    wait_for_all(lab);
    crash(lab, &result);
    wait_for_all(lab);
    result.counts = lab->counts;
    result.hash = world->trace.hash, result.turns = world->turns;
    world_close(world);
    lab_free(lab);
    world_free(world);
    mem_free(lab);
    mem_free(world);
    current = NULL;
    return result;
}

/* --- the program --- */

static void last_words(void)
{
    if (!current)
        return;
    fflush(stdout);
    fprintf(stderr, "--- the last events of seed %llu\n", (unsigned long long)current->seed);
    trace_print(&current->trace, stderr);
    fprintf(stderr, "--- again: sim_lab --seed %llu --verbose\n",
            (unsigned long long)current->seed);
    current = NULL;
}

static void on_signal(int signal)
{
    last_words();
    _exit(128 + signal);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void add(struct result *sum, const struct result *one)
{
    uint64_t *to = (uint64_t *)&sum->counts;
    const uint64_t *from = (const uint64_t *)&one->counts;
    for (size_t i = 0; i < sizeof(sum->counts) / sizeof(*to); i++)
        to[i] += from[i];
    sum->turns += one->turns, sum->crashes += one->crashes, sum->stops += one->stops;
    sum->failures += one->failures, sum->refusals += one->refusals;
}

static void report(const struct result *sum, unsigned runs)
{
    const struct lab_counts *c = &sum->counts;
    printf("%u runs: %llu turns, %llu crashes, %llu stops, %llu disks broken, %llu times a read or an open "
           "failed, %llu policies; %llu deliveries in order\n", runs,
           (unsigned long long)sum->turns, (unsigned long long)sum->crashes,
           (unsigned long long)sum->stops, (unsigned long long)sum->failures,
           (unsigned long long)sum->refusals, (unsigned long long)c->policies,
           (unsigned long long)c->ordered);
    printf("%llu transactions committed, %llu rolled back, %llu cut short and whole, %llu deliveries settled "
           "by them; %llu transient messages, %llu lost; %llu turns in which a priority had to wait\n",
           (unsigned long long)c->committed, (unsigned long long)c->rolled, (unsigned long long)c->whole,
           (unsigned long long)c->tx_settled, (unsigned long long)c->transient, (unsigned long long)c->lost,
           (unsigned long long)c->leveled);
    printf("%llu published (%llu again), %llu confirmed, %llu refused; %llu delivered: %llu dead "
           "letters, %llu "
           "delayed, %llu retried, %llu of a group, %llu to a single active consumer\n",
           (unsigned long long)c->published, (unsigned long long)c->repeated,
           (unsigned long long)c->confirmed, (unsigned long long)c->refused,
           (unsigned long long)c->delivered, (unsigned long long)c->dead,
           (unsigned long long)c->delayed, (unsigned long long)c->retried,
           (unsigned long long)c->grouped, (unsigned long long)c->alone);
    printf("%llu copies were looked for, %llu had to be there, %llu were\n",
           (unsigned long long)c->checked, (unsigned long long)c->musts,
           (unsigned long long)c->found);
}

int main(int argc, char **argv)
{
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 0;
    unsigned runs = 0, steps = STEPS;
    bool verbose = false;
    struct result sum = {0};
    for (int i = 1; i < argc; i++) {
        struct slice option = slice_of_string(argv[i]);
        uint64_t value = i + 1 < argc ? strtoull(argv[i + 1], NULL, 10) : 0;
        if (slice_is(option, "--verbose"))
            verbose = true;
        else if (slice_is(option, "--seed"))
            seed = value, i++;
        else if (slice_is(option, "--runs"))
            runs = (unsigned)value, i++;
        else if (slice_is(option, "--steps"))
            steps = (unsigned)value, i++;
        else
            return 2;
    }
    bool slow = __sanitizer_set_death_callback != NULL;
    signal(SIGABRT, on_signal);
    if (slow)
        __sanitizer_set_death_callback(last_words);
    if (runs == 0)
        runs = seed ? 1 : slow ? RUNS_SLOW : RUNS;
    if (!seed) { /* a seed is one run */
        struct result one = run(1, steps, false), again = run(1, steps, false);
        assertf(one.hash == again.hash, "seed 1 is not one run");
        for (size_t i = 0; i < array_size(regressions); i++) {
            one = run(regressions[i], steps, false);
            add(&sum, &one);
        }
    }
    for (unsigned i = 0; i < runs; i++) {
        struct result one = run((seed ? seed : 1) + i, steps, verbose);
        add(&sum, &one);
    }
    runs += seed ? 0 : (unsigned)array_size(regressions);
    report(&sum, runs);
    printf("%u passed, 0 failed\n", runs);
    return 0;
}
