// SPDX-License-Identifier: Apache-2.0
/* The values in etcd: JSON objects with "version": 1. What has a greater version, or is no such object, is unreadable:
 * an agent that is older than the others leaves it alone. */
#pragma once

#include "core/agent/etcd_json.h"
#include "core/agent/ownership.h"

enum { RECORDS_VERSION = 1 };

/* Names of keys, behind the prefix. */
#define RECORDS_PEER	"peer/"
#define RECORDS_INDEX	"index/"
#define RECORDS_NET	"net/"
#define RECORDS_NODE	"node/"
#define RECORDS_BLOCK	"block/"
#define RECORDS_TAKEN	"taken/"
#define RECORDS_MEMBERS "members"
#define RECORDS_TAKERS	"takers"
#define RECORDS_SECRET	"secret"
#define RECORDS_NEXT	"next"
#define RECORDS_POOL	"pool"	 /* indexes that gateways can give out */
#define RECORDS_WATCH	"watch/" /* written by an agent, to see that its watch reports it */

/* prefix + kind + name, for example "/shardtun/block/17". False: too long. */
bool records_key(char key[ETCD_KEY_MAX], const char *prefix, const char *kind, const char *name);
bool records_number_key(char key[ETCD_KEY_MAX], const char *prefix, const char *kind, unsigned number);

/* An object that can be read. NULL: unreadable. The caller owns it. */
json_t *records_read(const char *value, size_t length);

/* Values, from malloc(); NULL: no memory. */
char *records_block(const char *node, const char *uuid);
char *records_clean(const char *node);
char *records_node(const struct ownership_node_key *node); /* uuid, machine, inside, agent, draining */
char *records_takers(const struct ownership_takers *takers);
char *records_secret(const uint8_t secret[OWNERSHIP_SECRET]);

/* --- the read of what ownership is about -------------------------------------------------------------------------- */

/* The operations of its transaction, in this order. */
enum {
	RECORDS_BLOCKS,
	RECORDS_TAKENS,
	RECORDS_NODES,
	RECORDS_MEMBER_LIST,
	RECORDS_TAKER_LIST,
	RECORDS_SECRET_READ,
	RECORDS_READS,
};

/* Adds them. */
void records_ask(struct etcd_txn *txn, const char *prefix);

/* Keys that cannot be read, or are of no block. */
struct records_unreadable {
	unsigned count;
	char first[64]; /* name of the first one, without the prefix */
};

/* Fills the view, but for `sent`. On failure view and *unreadable are as before. -EPROTO: this is no answer to that;
 * -ENOMEM. */
int records_view(json_t *answer, const char *prefix, struct ownership_view *view,
		 struct records_unreadable *unreadable);
