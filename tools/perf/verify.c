/* verify.c - the verdict on a run: loss, repetition, order. */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tools/perf/load.h"

/* What all consumers of a shared queue saw of one producer. */
struct share {
    uint64_t received, fingerprint;
};

enum { SHARES_MAX = 1 << 22 };

static uint64_t add_up(struct load *load, struct sequence_verdict *v)
{
    uint64_t received = 0;
    for (uint64_t i = 0; i < load->consumer_count; i++) {
        const struct consumer *c = &load->consumers[i];
        v->lost += c->verdict.lost;
        v->late += c->verdict.late;
        v->duplicated += c->verdict.duplicated;
        v->redelivered += c->verdict.redelivered;
        v->foreign += c->verdict.foreign;
        for (uint64_t j = 0; j < c->subscription_count; j++)
            for (uint64_t k = 0; k < c->subscriptions[j].capacity; k++) {
                const struct sequence *s = c->subscriptions[j].sequences[k];
                if (!s)
                    continue;
                received += s->received;
                v->lost += s->missing;
                v->late += s->late;
                v->duplicated += s->duplicated;
                v->redelivered += s->redelivered;
            }
    }
    return received;
}

static void collect_shares(const struct load *load, struct share *shares)
{
    for (uint64_t i = 0; i < load->consumer_count; i++) {
        const struct consumer *c = &load->consumers[i];
        for (uint64_t j = 0; j < c->subscription_count; j++)
            for (uint64_t k = 0; k < load->producer_count; k++) {
                const struct subscription *s = &c->subscriptions[j];
                const struct sequence *sequence = subscription_sequence(s, k);
                struct share *share = &shares[s->queue * load->producer_count + k];
                share->received += sequence ? sequence->received : 0;
                share->fingerprint += sequence ? sequence->fingerprint : 0;
            }
    }
}

/* Several consumers a queue: the numbers they received must be exactly those that were sent. When the count
 * is right and the fingerprint wrong, at least one is lost and another repeated. */
static void compare_shares(const struct load *load, struct sequence_verdict *v)
{
    uint64_t queues = load->topology.queues, producers = load->producer_count;
    if (queues * producers > SHARES_MAX || v->redelivered)
        return;
    struct share *shares = mem_zalloc(queues * producers * sizeof(*shares));
    collect_shares(load, shares);
    for (uint64_t i = 0; i < queues * producers; i++) {
        uint64_t stream = load->topology.broadcast ? 0 : i / producers;
        uint64_t sent = load->producers[i % producers].next[stream], fingerprint = 0;
        if (shares[i].received > sent)
            v->duplicated += shares[i].received - sent;
        if (shares[i].received != sent)
            continue;
        for (uint64_t n = 0; n < sent; n++)
            fingerprint += sequence_mix(n);
        if (fingerprint != shares[i].fingerprint)
            v->lost++, v->duplicated++;
    }
    mem_free(shares);
}

/* What did not come: still in the queues, under way, or lost. */
static void judge_rest(struct load *load, uint64_t missing, bool idle)
{
    struct sequence_verdict *v = &load->result.verdict;
    uint64_t depth = missing;
    bool broken = load->result.error[0] || load->options->topology.predeclared;
    if (idle && !broken && !topology_depth(&load->topology, &load->admin, &depth))
        depth = missing;
    v->backlog = missing < depth ? missing : depth;
    v->lost += missing - v->backlog;
}

void load_verify(struct load *load, bool idle)
{
    struct sequence_verdict *v = &load->result.verdict;
    const struct options *o = load->options;
    uint64_t received = add_up(load, v);
    load->result.checked = load->consumer_count > 0 && o->publish.size >= STAMP_ID_SIZE;
    if (load->producer_count == 0 || load->consumer_count == 0)
        return;
    if (!load->result.checked)
        received = load_count(load, COUNT_RECEIVED);
    else if (load->consumer_count > load->topology.queues)
        compare_shares(load, v);
    uint64_t expected = load_expected(load), gaps = v->lost;
    if (expected > received + gaps && !o->consume.messages)
        judge_rest(load, expected - received - gaps, idle);
    uint64_t excused = load_count(load, COUNT_RETURNED) + load_count(load, COUNT_NACKED);
    v->lost -= v->lost < excused ? v->lost : excused;
}
