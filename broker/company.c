/* company.c - small clients beside large ones.
 *
 * Owner: the server (struct company) and its connections (struct share). Who has brought much has to bring
 * little for dozens of turns before it counts as modest: somebody who is fast, but waits for its confirms now
 * and then, does not, and nothing is made shorter for it. */
#include "broker/company.h"

#include "broker/connection.h"

enum { FADING = 8 }; /* a turn takes one in so many of what was */

void company_init(struct company *company)
{
    *company = (struct company){.effort_max = EFFORT_MAX};
}

static size_t part(size_t all, size_t parts, size_t least)
{
    size_t one = parts > 0 ? all / parts : all;
    return one > least ? one : least;
}

void company_look(struct server *s)
{
    struct company *company = &s->company;
    company->present = s->home.now_ms < company->until_ms;
    if (!company->present) {
        net_set_read_max(&s->net, NET_READ_SIZE);
        company->effort_max = EFFORT_MAX;
        s->home.paging.batch_max = SIZE_MAX;
        return;
    }
    unsigned full = s->net.full_reads;
    net_set_read_max(&s->net, part(COMPANY_READ, full, COMPANY_READ_LEAST));
    company->effort_max = (unsigned)part(COMPANY_EFFORT, full, COMPANY_EFFORT_LEAST);
    s->home.paging.batch_max = COMPANY_PAGES;
}

void company_note(struct connection *conn, bool publishes)
{
    struct share *share = &conn->share;
    uint64_t got = conn->stream.received - share->received;
    assert(conn->stream.received >= share->received);
    if (got == 0) /* what came before is handled in pieces */
        return;
    share->received = conn->stream.received;
    share->recent -= (share->recent + FADING - 1) / FADING;
    if (share->recent < got)
        share->recent = got;
    if (publishes && share->recent <= COMPANY_MODEST)
        conn->server->company.until_ms = conn->server->home.now_ms + COMPANY_MS;
}

unsigned company_room(const struct connection *conn)
{
    unsigned max = conn->server->company.effort_max, spent = conn->share.effort;
    assert(max > 0);
    return spent < max ? max - spent : 1;
}

size_t company_published(const struct server *s, uint64_t copies_before)
{
    assert(s->company.copies >= copies_before);
    uint64_t copies = s->company.copies - copies_before;
    return copies > 1 ? (size_t)copies : 1;
}

bool company_crowds(const struct connection *conn)
{
    const struct server *s = conn->server;
    return s->company.present && conn->share.recent > COMPANY_MODEST &&
           store_open_bytes(s->store) >= COMPANY_BATCH;
}
