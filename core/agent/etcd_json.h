// SPDX-License-Identifier: Apache-2.0
/* The bodies of etcd's JSON gateway (etcd 3.4, /v3): requests are built and answers are read here, without any I/O.
 *
 * The gateway maps protobuf to JSON: keys and values are base64, 64-bit numbers are strings, and a field that is zero
 * is left out, so that an answer without "succeeded" is one that did not succeed. All functions: any one thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/error.h"

enum {
	ETCD_TXN_MAX = 128, /* operations of a transaction; etcd's --max-txn-ops, which counts comparisons apart */
	ETCD_KEY_MAX = 512, /* bytes of a key with its terminator; ours are far shorter */
};

/* A key and its value, both terminated; either may have zero bytes in it, which the lengths tell. */
struct etcd_kv {
	char *key, *value;
	size_t key_length, value_length;
	uint64_t create_revision, mod_revision;
	int64_t lease; /* 0: none */
};

/* Reads one element of "kvs", or the "kv" of an event. 0: the caller frees it by etcd_kv_free(). -EPROTO: it is none;
 * -ENOMEM. On failure *kv is empty. */
int etcd_kv_read(json_t *object, struct etcd_kv *kv);
void etcd_kv_free(struct etcd_kv *kv);

/* A member of an answer that is a 64-bit number, as a string or a number. 0 where there is none. */
uint64_t etcd_number(json_t *object, const char *name);

/* header.revision. */
uint64_t etcd_revision(json_t *answer);

/* --- requests ----------------------------------------------------------------------------------------------------- */

/* What a range request reads. */
struct etcd_range {
	const char *key;
	bool prefix;	   /* all keys that begin so */
	const char *after; /* with `prefix`: only keys behind this one, for the next page; NULL: all */
	unsigned limit;	   /* keys; 0: all */
	uint64_t revision; /* as of then; 0: now, linearizable */
};

/* The caller owns the result. NULL: no memory. */
json_t *etcd_range_body(const struct etcd_range *range);

/* A watch on all keys that begin with `prefix`, from that revision on. NULL: no memory. */
json_t *etcd_watch_body(const char *prefix, uint64_t from_revision);

/* A transaction: all comparisons hold, or nothing is done. */
struct etcd_txn {
	json_t *compare, *success;
	int failed; /* -ENOMEM, or -E2BIG: more than ETCD_TXN_MAX */
};

void etcd_txn_begin(struct etcd_txn *txn);

/* Frees what was built. */
void etcd_txn_abort(struct etcd_txn *txn);

/* Comparisons: there is no such key; its last change was in that revision (0: there is none); it was created in it. */
void etcd_txn_absent(struct etcd_txn *txn, const char *key);
void etcd_txn_unchanged(struct etcd_txn *txn, const char *key, uint64_t mod_revision);
void etcd_txn_created(struct etcd_txn *txn, const char *key, uint64_t create_revision);

/* Operations. The value is terminated text; lease 0: none. */
void etcd_txn_put(struct etcd_txn *txn, const char *key, const char *value, int64_t lease);
void etcd_txn_delete(struct etcd_txn *txn, const char *key);
void etcd_txn_range(struct etcd_txn *txn, const struct etcd_range *range);

/* Takes the transaction apart. The caller owns *body. 0, or what `failed` was. */
int etcd_txn_body(struct etcd_txn *txn, json_t **body);

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* "kvs" of a range's answer: borrowed, an array or NULL when there are none. */
json_t *etcd_range_kvs(json_t *answer);

/* The answer of operation `index` of a transaction: borrowed; NULL: it has none. */
json_t *etcd_txn_answer(json_t *answer, size_t index, const char *kind);

/* Whether the comparisons held. */
bool etcd_txn_succeeded(json_t *answer);

/* The text of an error answer, or NULL when this is none. Borrowed. The code is that of gRPC, 0: it has none. */
const char *etcd_error_text(json_t *answer, unsigned *code);
