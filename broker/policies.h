/* policies.h - the policies of a vhost: which of them governs a queue or exchange, and what that changes.
 *
 * A queue or exchange holds on to the two policies that govern it (dest.policies). They are found when it
 * is declared, and again when a policy of its vhost changes: then the vhost settles, some hundred queues a
 * turn, and whoever changed the policy is answered when all of them are as it says. */
#ifndef BROKER_POLICIES_H
#define BROKER_POLICIES_H

#include "base/list.h"
#include "base/map.h"
#include "base/walk.h"
#include "broker/policy.h"
#include "exchange/dest.h"

struct server;
struct vhost;

/* The components that they are kept as in the store. */
#define POLICIES_COMPONENT(of_operator) ((of_operator) ? SLICE("operator_policy") : SLICE("policy"))

/* In a turn so many queues are gone through, and so many names and patterns compared. */
enum { POLICIES_MAX = 10000, POLICIES_SETTLE_TURN = 512, POLICIES_MATCHES_TURN = 32 * POLICIES_SETTLE_TURN };

struct policies {
    struct policy **lists[2]; /* [of_operator], the one that counts first */
    size_t counts[2];
    struct map by_name[2];
    struct list settling; /* in parameters.settling while its queues are gone through */
    uint64_t give_ups; /* matches that took too long, of all policies */
    struct walk walk;
    bool at_exchanges; /* of the walk: the queues are done */
};

/* Makes or replaces one; kept in the store unless it comes from there. False and a reason when it is
 * refused. */
bool policies_set(struct vhost *v, const struct policy_given *given, bool stored, char *reason,
                  size_t reason_size);
/* As the store has it: the JSON that policy_print makes. */
bool policies_recover(struct vhost *v, struct slice name, bool of_operator, struct slice json, char *reason,
                      size_t reason_size);
/* False when there is none. */
bool policies_clear(struct vhost *v, struct slice name, bool of_operator);
/* The vhost is being deleted: what changed need not be felt any more. */
void policies_stop(struct vhost *v);
/* The vhost goes, with all that they govern. */
void policies_free(struct vhost *v);

/* Finds what governs it, and lets that take effect. */
void policies_govern(struct vhost *v, struct dest *dest);
/* What that costs, where 1 is what a queue costs otherwise: for those who make many in a turn. */
size_t policies_cost(const struct policies *policies);
/* It goes. */
void policies_release(struct dest *dest);

/* A turn's share of settling. */
void policies_act(struct server *s);
bool policies_are_settling(const struct server *s);

#endif
