// SPDX-License-Identifier: Apache-2.0
/* What core/agent/etcd.c, etcd_request.c and etcd_watch.c have in common: one HTTP request by libcurl. Not for others.
 */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <urcu/list.h>

#include "core/agent/etcd.h"

enum {
	ETCD_SHORT = 192,
	ETCD_TEXT = 384,      /* of a failure */
	ETCD_POLLED_MAX = 32, /* further descriptors of etcd_run() */
	ETCD_PAUSE_MS = 100,  /* when all endpoints have failed in turn */
};
#define ETCD_PAUSE (ETCD_PAUSE_MS * NS_PER_MS)

/* Codes of gRPC. */
enum {
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_UNAVAILABLE = 14,
	GRPC_UNAUTHENTICATED = 16,
};

struct etcd_request {
	struct cds_list_head node; /* of the client's list */
	struct etcd *etcd;
	CURL *easy;
	struct curl_slist *headers;
	const char *path;
	char *body;
	bool running;	 /* libcurl has it */
	bool repeatable; /* may be carried out twice */
	bool unknown;	 /* a try may have been carried out */
	bool secret;	 /* body and answer are wiped */
	bool needs_token, renewed;
	size_t endpoint; /* of this try */
	unsigned tries, try_ms;
	uint64_t sent, deadline, not_before; /* monotonic ns */
	char *answer;
	size_t length, room;
	char why[CURL_ERROR_SIZE];
	etcd_done_fn *done;
	void *context;
	struct etcd_watch *watch; /* NULL: no watch's */
};

struct etcd {
	struct etcd_params params;
	CURLM *multi;
	struct cds_list_head requests, ended; /* the second: to be freed when no function runs */
	size_t current;			      /* endpoint */
	char *token;			      /* NULL: none */
	bool authenticating, ending;
	uint64_t not_authenticated_before;	     /* monotonic ns */
	char failed[ETCD_ENDPOINTS_MAX][ETCD_SHORT]; /* the last failure of each endpoint; "": it answered last */
	uint64_t failed_at[ETCD_ENDPOINTS_MAX];	     /* monotonic ns, also of one that has answered since; 0: never */
	char refusal[ETCD_TEXT];		     /* why there is no token; "": there is no reason */
	struct etcd_counters counters;
};

/* Gives the request to libcurl, for the endpoint whose turn it is. Never calls its function. */
void etcd_request_start(struct etcd_request *request);

/* Takes it back, if libcurl has it, and empties its answer. */
void etcd_request_abort(struct etcd_request *request);

/* Whether libcurl failed before anything of the request was sent. */
bool etcd_request_unsent(const struct etcd_request *request, CURLcode code);

/* Adds to the answer. False: no memory, or too long. */
bool etcd_request_append(struct etcd_request *request, const char *bytes, size_t count);

/* For etcd_watch.c, by etcd.c. */
struct etcd_request *etcd_request_for_watch(struct etcd *etcd, json_t *body);
void etcd_request_launch(struct etcd_request *request);
void etcd_request_drop(struct etcd_request *request);
bool etcd_request_renew(struct etcd_request *request, unsigned grpc); /* a new token may help */
void etcd_endpoint_failed(struct etcd *etcd, size_t endpoint);

/* For etcd.c, by etcd_watch.c. */
void etcd_watch_ended(struct etcd_request *request, CURLcode code);
void etcd_watch_orphaned(struct etcd_request *request);
size_t etcd_watch_received(char *bytes, size_t size, size_t count, void *context);
