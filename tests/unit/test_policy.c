/* test_policy.c - which policy governs a queue, and what two of them say together, against a model that
 * knows no more than the rules. SEED of the environment repeats a run. */
#include <check.h>
#include <stdlib.h>

#include "base/rand.h"
#include "broker/json_in.h"
#include "tests/unit/server_world.h"
#include "tests/unit/steps.h"

enum { POLICIES = 12, QUEUES = 40, ROUNDS = 60 };

static struct rand dice;

static struct vhost *vhost(void)
{
    struct vhost *v = server_find_vhost(&server, SLICE("/"));
    ck_assert_ptr_nonnull(v);
    return v;
}

static bool put_policy(const char *name, const char *pattern, const char *apply_to, const char *definition,
                       int64_t priority, bool of_operator)
{
    char error[512];
    json_t *value = json_in_parse(slice_of_string(definition), error, sizeof(error));
    ck_assert_msg(value, "%s: %s", definition, error);
    struct policy_given given = {.name = slice_of_string(name),
                                 .pattern = slice_of_string(pattern),
                                 .apply_to = slice_of_string(apply_to),
                                 .definition = value,
                                 .priority = priority,
                                 .of_operator = of_operator};
    bool done = policies_set(vhost(), &given, true, error, sizeof(error));
    json_decref(value);
    return done;
}

/* --- the model --- */

struct said {
    bool there;
    int suffix;                   /* it matches names that end with this digit */
    int64_t priority, max_length; /* -1 = does not say */
    bool reject;
};

static struct said model[2][POLICIES];

static const struct said *model_choose(int kind, int digit)
{
    const struct said *best = NULL;
    for (int i = 0; i < POLICIES; i++) { /* names rise with i: the first of equals counts */
        const struct said *said = &model[kind][i];
        if (said->there && (said->suffix < 0 || said->suffix == digit) &&
            (!best || said->priority > best->priority))
            best = said;
    }
    return best;
}

static void check_queue(int number)
{
    char name[32];
    snprintf(name, sizeof(name), "q%d", number);
    const struct queue *q = queue(name);
    const struct said *user = model_choose(0, number % 10), *ceiling = model_choose(1, number % 10);
    uint64_t most = number % 3 == 0 ? 50 : UINT64_MAX; /* its own argument */
    bool reject = false;
    if (user && user->max_length >= 0 && (uint64_t)user->max_length < most)
        most = (uint64_t)user->max_length;
    if (ceiling && ceiling->max_length >= 0 && (uint64_t)ceiling->max_length < most)
        most = (uint64_t)ceiling->max_length;
    reject = (user && user->reject) || (ceiling && ceiling->reject);
    ck_assert_int_eq(q->dest.policies[0] != NULL, user != NULL);
    ck_assert_int_eq(q->dest.policies[1] != NULL, ceiling != NULL);
    ck_assert_uint_eq(q->settings.limit.messages_max, most);
    ck_assert_int_eq(q->settings.limit.overflow, most == UINT64_MAX ? LIMIT_NONE
                                        : reject           ? LIMIT_REJECT
                                                           : LIMIT_DROP_HEAD);
}

static void change_policy(void)
{
    int kind = (int)rand_below(&dice, 2), i = (int)rand_below(&dice, POLICIES);
    struct said *said = &model[kind][i];
    char name[16], pattern[32] = "", definition[128];
    snprintf(name, sizeof(name), "p%02d", i);
    if (said->there && rand_below(&dice, 3) == 0) {
        said->there = false;
        ck_assert(policies_clear(vhost(), slice_of_string(name), kind));
        return;
    }
    *said = (struct said){.there = true,
                          .suffix = (int)rand_below(&dice, 11) - 1,
                          .priority = (int64_t)rand_below(&dice, 4) - 1,
                          .max_length = rand_below(&dice, 3) ? (int64_t)rand_below(&dice, 100) : -1,
                          .reject = rand_below(&dice, 3) == 0};
    if (said->max_length < 0 && !said->reject)
        said->max_length = 7;
    if (said->suffix >= 0)
        snprintf(pattern, sizeof(pattern), "%d$", said->suffix);
    if (said->max_length < 0)
        snprintf(definition, sizeof(definition), "{\"overflow\":\"reject-publish\"}");
    else
        snprintf(definition, sizeof(definition), "{\"max-length\":%d%s}", (int)said->max_length,
                 said->reject ? ",\"overflow\":\"reject-publish\"" : "");
    ck_assert(put_policy(name, pattern, rand_below(&dice, 2) ? "queues" : "classic_queues", definition,
                         said->priority, kind));
}

static void add_queue(int number)
{
    char name[32];
    struct buf args = {0};
    snprintf(name, sizeof(name), "q%d", number);
    if (number % 3 == 0)
        table_put_int(&args, "x-max-length", 50);
    struct queue_properties properties = {.args = buf_slice(&args), .durable = number % 2};
    vhost_add_queue(vhost(), slice_of_string(name), &properties, true);
    buf_free(&args);
}

START_TEST(governs_as_the_model_says)
{
    uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : 42;
    printf("seed %llu\n", (unsigned long long)seed);
    dice = rand_seeded(seed);
    memset(model, 0, sizeof(model));
    int there = 0;
    for (int round = 0; round < ROUNDS; round++) {
        if (there < QUEUES)
            add_queue(there++);
        change_policy();
        if (round % 3 == 0)
            change_policy(); /* before the vhost has settled */
        if (there < QUEUES)
            add_queue(there++);
        run();
        ck_assert(!policies_are_settling(&server));
        for (int i = 0; i < there; i++)
            check_queue(i);
    }
}
END_TEST

/* What is deleted while the vhost settles is passed over, the vhost itself too. */
START_TEST(settles_while_queues_go)
{
    for (int i = 0; i < 3 * POLICIES_SETTLE_TURN; i++)
        add_queue(i);
    ck_assert(put_policy("p", "", "all", "{\"max-length\":5}", 0, false));
    policies_act(&server);
    ck_assert(policies_are_settling(&server));
    ck_assert_uint_eq(queue("q1")->settings.limit.messages_max, 5);
    for (int i = POLICIES_SETTLE_TURN - 10; i < 2 * POLICIES_SETTLE_TURN; i++) {
        char name[32];
        snprintf(name, sizeof(name), "q%d", i);
        vhost_delete_queue(vhost(), queue(name));
    }
    run();
    ck_assert(!policies_are_settling(&server));
    char last[32];
    snprintf(last, sizeof(last), "q%d", 3 * POLICIES_SETTLE_TURN - 1);
    ck_assert_uint_eq(queue(last)->settings.limit.messages_max, 5);
    ck_assert(policies_clear(vhost(), SLICE("p"), false));
    policies_act(&server);
    struct vhost *v = vhost();
    vhost_delete(&v);
    ck_assert(!policies_are_settling(&server) && list_empty(&server.control.walks));
    run();
}
END_TEST

START_TEST(merges_numbers_by_the_lesser)
{
    ck_assert(put_policy("p", "", "all", "{\"message-ttl\":100,\"max-length\":5,\"delivery-limit\":-1}", 0,
                         false));
    ck_assert(put_policy("o", "", "all",
                         "{\"message-ttl\":200,\"max-length\":3,\"delivery-limit\":9,"
                         "\"expires\":7}",
                         0, true));
    const struct policies *policies = &vhost()->policies;
    struct buf out = {0};
    policy_effective(policies->lists[0][0], policies->lists[1][0], &out);
    buf_append(&out, "", 1);
    ck_assert_str_eq((const char *)out.at,
                     "{\"message-ttl\":100,\"expires\":7,\"max-length\":3,\"delivery-limit\":9}");
    buf_free(&out);
}
END_TEST

START_TEST(keeps_to_its_targets)
{
    ck_assert(put_policy("p", "", "exchanges", "{\"alternate-exchange\":\"amq.fanout\"}", 5, false));
    ck_assert(put_policy("r", "", "quorum_queues", "{\"max-length\":1}", 4, false));
    ck_assert(put_policy("s", "^q", "queues", "{\"max-length\":2}", 3, false));
    add_queue(1);
    run();
    ck_assert_uint_eq(queue("q1")->settings.limit.messages_max, 2);
    const struct exchange *x = vhost_find_exchange(vhost(), SLICE("amq.direct"));
    ck_assert(slice_is(x->alternate, "amq.fanout"));
    ck_assert_uint_eq(vhost()->default_exchange->alternate.len, 0);
    ck_assert(!put_policy("bad", "", "nowhere", "{\"max-length\":2}", 0, false));
    ck_assert(!put_policy("bad", "", "all", "{\"alternate-exchange\":\"x\"}", 0, true));
    ck_assert(!put_policy("bad", "(", "all", "{\"max-length\":2}", 0, false));
    ck_assert(!put_policy("", "", "all", "{\"max-length\":2}", 0, false));
    ck_assert(put_policy("pairs", "", "all", "[[\"max-length\",2]]", 0, true));
    ck_assert(!put_policy("pairs", "", "all", "[[\"max-length\"]]", 0, true));
}
END_TEST

/* 10,000 are not made here: what is there stands in many places. One too many is refused, a change is not. */
START_TEST(no_more_than_there_may_be)
{
    struct policies *policies = &vhost()->policies;
    ck_assert(put_policy("a", "^q", "queues", "{\"max-length\":1}", 1, false));
    ck_assert(put_policy("z", "^q", "queues", "{\"max-length\":2}", 0, false));
    struct policy *z = policies->lists[false][1];
    policies->lists[false] = mem_realloc(policies->lists[false], POLICIES_MAX * sizeof(z));
    for (size_t i = 2; i < POLICIES_MAX; i++)
        policies->lists[false][i] = z;
    policies->counts[false] = POLICIES_MAX;
    ck_assert(!put_policy("b", "^q", "queues", "{\"max-length\":3}", 2, false));
    ck_assert(put_policy("a", "^q", "queues", "{\"max-length\":3}", 2, false));
    ck_assert(put_policy("b", "^q", "queues", "{\"max-length\":3}", 2, true));
    policies->counts[false] = 2;
    ck_assert(slice_is(policies->lists[false][0]->name, "a") && policies->lists[false][0]->priority == 2);
    ck_assert(put_policy("b", "^q", "queues", "{\"max-length\":3}", 2, false));
}
END_TEST

/* What is compared in a turn is bounded, however many policies there are. */
START_TEST(settles_in_turns_with_many_policies)
{
    enum { MANY_POLICIES = 1024, MANY_QUEUES = 200 };
    for (int i = 0; i < MANY_QUEUES; i++)
        add_queue(i);
    for (int i = 0; i < MANY_POLICIES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "p%d", i);
        ck_assert(put_policy(name, "nothing", "queues", "{\"max-length\":5}", i, false));
    }
    run();
    ck_assert(put_policy("last", "^q", "queues", "{\"max-length\":7}", -1, false));
    unsigned governed = 0;
    policies_act(&server);
    for (int i = 0; i < MANY_QUEUES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "q%d", i);
        governed += queue(name)->settings.limit.messages_max == 7;
    }
    ck_assert_uint_ge(governed, 1);
    ck_assert_uint_le(governed, POLICIES_MATCHES_TURN / MANY_POLICIES);
    while (policies_are_settling(&server))
        run();
    ck_assert_uint_eq(queue("q199")->settings.limit.messages_max, 7);
}
END_TEST

static void replace_policy(void *arg)
{
    (void)arg;
    ck_assert(put_policy("p7", "other", "queues", "{\"max-length\":6}", 50, false));
}

/* One more costs the same among 100 and among 2,000 others. */
START_TEST(others_cost_nothing)
{
    uint64_t few = 0;
    for (int i = 0; i < 2000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "p%d", i);
        ck_assert(put_policy(name, "nothing", "queues", "{\"max-length\":5}", i % 100, false));
        if (i == 100)
            few = steps_of(replace_policy, NULL);
    }
    uint64_t many = steps_of(replace_policy, NULL);
    fprintf(stderr, "a policy is replaced: %llu instructions with 100, %llu with 2000\n",
            (unsigned long long)few, (unsigned long long)many);
    ck_assert_uint_lt(many, few * 2);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {governs_as_the_model_says, settles_while_queues_go,
                                  merges_numbers_by_the_lesser, keeps_to_its_targets,
                                  no_more_than_there_may_be, settles_in_turns_with_many_policies,
                                  others_cost_nothing};
    return run_suite("policy", tests, array_size(tests), NULL, 0);
}
