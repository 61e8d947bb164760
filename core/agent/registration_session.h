// SPDX-License-Identifier: Apache-2.0
/* One connection to etcd whose answers are waited for: what the functions of core/agent/registration.h have in common.
 * Not for others. */
#pragma once

#include "core/agent/records.h"
#include "core/agent/registration.h"

struct registration_session {
	const struct registration_call *call;
	const char *prefix;
	struct etcd *etcd;
	struct error *error;
	struct registration_pool pool; /* the call's, or what etcd has */
	uint64_t deadline;	       /* monotonic ns */
	bool answered;
	int code;
	json_t *body; /* of the last answer */
};

/* A key as it was read. */
struct registration_value {
	json_t *object;	       /* the caller's; NULL: there is none, or it cannot be read */
	uint64_t mod_revision; /* 0: there is none */
};

int registration_open(struct registration_session *session, const struct registration_call *call, struct error *error);
void registration_close(struct registration_session *session);

/* The limit begins anew. */
void registration_restart(struct registration_session *session);

/* Adds the key to a transaction that reads, as its next operation. */
void registration_ask(const struct registration_session *session, struct etcd_txn *txn, const char *kind,
		      const char *name);
void registration_ask_index(const struct registration_session *session, struct etcd_txn *txn, uint32_t index);

/* Reads them all, takes the transaction apart, and waits. */
int registration_read(struct registration_session *session, struct etcd_txn *txn);

/* The value of an operation of that transaction. 0, -EPROTO: no such answer; -ENOMEM. */
int registration_value(struct registration_session *session, size_t operation, struct registration_value *value);

/* Whether there is such a key. */
bool registration_present(const struct registration_session *session, size_t operation);

/* Carries it out. -EAGAIN, without a text: a comparison did not hold. */
int registration_commit(struct registration_session *session, struct etcd_txn *txn);

/* One key that must not be there, and is there afterwards; and all those of a peer. */
void registration_claim(const struct registration_session *session, struct etcd_txn *txn, const char *kind,
			const char *name, const char *value);
void registration_claim_peer(const struct registration_session *session, struct etcd_txn *txn,
			     const struct registration *peer, uint32_t index);

/* `next`: what was read of it. *next is the least index to be given. -EPROTO: it cannot be read. */
int registration_next(const struct registration_session *session, const struct registration_value *value,
		      uint32_t *next);

/* Sets it, if it is as it was read. */
void registration_put_next(const struct registration_session *session, struct etcd_txn *txn,
			   const struct registration_value *before, uint32_t next);

/* Takes the pool from that operation's value, unless the call has one; without such a key it stays unknown. 0, -EPROTO:
 * it is of a newer version. */
int registration_see_pool(struct registration_session *session, size_t operation);

/* Whether a peer can have that index, as far as the pool is known. */
bool registration_can_have(const struct registration_session *session, uint32_t index);

/* Adds one, with the index that it names or the next one. */
int registration_add_one(struct registration_session *session, const struct registration *peer, uint32_t *index);

/* The network without host bits, as it stands in its key. */
const char *registration_network(const char *text, char network[IP_TEXT_MAX]);
