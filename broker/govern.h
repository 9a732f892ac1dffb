/* govern.h - what policies change in the queue or exchange that they govern: the one place where a key of a
 * policy takes effect. */
#ifndef BROKER_GOVERN_H
#define BROKER_GOVERN_H

#include "broker/policy.h"
#include "exchange/dest.h"

struct vhost;

/* What kind of thing a policy sees in it. */
enum policy_subject govern_subject(const struct dest *dest);
/* Takes arguments and both policies together anew; called when dest->policies changed. */
void govern_apply(struct vhost *v, struct dest *dest);

#endif
