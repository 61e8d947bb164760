// SPDX-License-Identifier: Apache-2.0
#include "core/agent/etcd.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/agent/etcd_request.h"

enum { AUTHENTICATE_MS = 2000 };

/* --- the list of requests ----------------------------------------------------------------------------------------- */

/* Freed when nothing can go through the list or use the answer any more. */
static void request_free(struct etcd_request *request)
{
	etcd_request_abort(request);
	cds_list_del(&request->node);
	cds_list_add(&request->node, &request->etcd->ended);
}

static void free_ended(struct etcd *etcd)
{
	struct etcd_request *request, *next;
	cds_list_for_each_entry_safe(request, next, &etcd->ended, node)
	{
		curl_easy_cleanup(request->easy);
		if (request->secret && request->body != NULL)
			explicit_bzero(request->body, strlen(request->body));
		if (request->secret && request->answer != NULL)
			explicit_bzero(request->answer, request->room);
		free(request->body);
		free(request->answer);
		free(request);
	}
	CDS_INIT_LIST_HEAD(&etcd->ended);
}

static struct etcd_request *request_new(struct etcd *etcd, const char *path, json_t *body)
{
	struct etcd_request *request = etcd->ending ? NULL : calloc(1, sizeof *request);
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	if (request == NULL || text == NULL || (request->easy = curl_easy_init()) == NULL) {
		free(request);
		free(text);
		return NULL;
	}
	request->etcd = etcd;
	request->path = path;
	request->body = text;
	cds_list_add(&request->node, &etcd->requests);
	return request;
}

/* --- endpoints ---------------------------------------------------------------------------------------------------- */

static void next_endpoint(struct etcd *etcd, size_t failed)
{
	if (etcd->current != failed || etcd->params.endpoint_count < 2)
		return;
	etcd->current = (failed + 1) % etcd->params.endpoint_count;
	etcd->counters.moves++;
}

const struct etcd_counters *etcd_counters(const struct etcd *etcd)
{
	return &etcd->counters;
}

/* --- the end of a request ----------------------------------------------------------------------------------------- */

/* The function may begin other requests, so this one leaves the list before. */
static void request_end(struct etcd_request *request, struct etcd_answer *answer)
{
	etcd_done_fn *done = request->done;
	void *context = request->context;
	answer->sent = request->sent;
	request_free(request);
	if (done != NULL)
		done(context, answer);
}

static void request_fail(struct etcd_request *request, int code, const char *text)
{
	struct etcd_answer answer = {.code = code, .text = text, .unknown = request->unknown};
	request_end(request, &answer);
}

static void start_when_possible(struct etcd_request *request);

/* A failure of this endpoint. `unsent`: the request cannot have been carried out. */
static void request_retry(struct etcd_request *request, bool unsent, enum etcd_failure why, const char *text)
{
	struct etcd *etcd = request->etcd;
	etcd->counters.failures[why]++;
	(void)snprintf(etcd->failed[request->endpoint], ETCD_SHORT, "%s", text);
	next_endpoint(etcd, request->endpoint);
	if (!unsent && !request->repeatable)
		request->unknown = true;
	uint64_t now = clock_monotonic(etcd->params.clock);
	etcd->failed_at[request->endpoint] = now;
	request->tries++;
	if (request->unknown || now >= request->deadline) {
		request_fail(request, why == ETCD_LATE ? -ETIMEDOUT : -EIO, text);
		return;
	}
	/* All endpoints in turn at once, then with a pause: a refused connection takes no time. */
	request->not_before = request->tries % etcd->params.endpoint_count == 0 ? now + ETCD_PAUSE : now;
	start_when_possible(request);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static void drop_token(struct etcd *etcd)
{
	if (etcd->token != NULL)
		explicit_bzero(etcd->token, strlen(etcd->token));
	free(etcd->token);
	etcd->token = NULL;
}

static void authenticated(void *context, const struct etcd_answer *answer)
{
	struct etcd *etcd = context;
	const char *token = json_string_value(json_object_get(answer->body, "token"));
	etcd->authenticating = false;
	drop_token(etcd);
	etcd->token = token != NULL ? strdup(token) : NULL;
	if (etcd->token != NULL)
		etcd->refusal[0] = '\0';
	if (etcd->token != NULL || answer->code == -ECANCELED)
		return;
	etcd->refusal[0] = '\0';
	if (answer->code == 0 || answer->code == -EREMOTEIO)
		(void)snprintf(etcd->refusal, sizeof etcd->refusal, "user \"%s\": %s", etcd->params.user,
			       answer->text != NULL ? answer->text : "no token in the answer");
	etcd->not_authenticated_before = clock_monotonic(etcd->params.clock) + NS_PER_S;
	/* All that waited for it ends in start_or_end(). */
	struct etcd_request *request;
	cds_list_for_each_entry (request, &etcd->requests, node) {
		if (request->needs_token && !request->running && request->watch == NULL)
			request->deadline = 0;
	}
}

static void authenticate(struct etcd *etcd)
{
	if (etcd->authenticating || clock_monotonic(etcd->params.clock) < etcd->not_authenticated_before)
		return;
	json_t *body = json_pack("{s:s, s:s}", "name", etcd->params.user, "password", etcd->params.password);
	struct etcd_request *request = request_new(etcd, "/v3/auth/authenticate", body);
	if (request == NULL)
		return;
	etcd->authenticating = true;
	request->repeatable = request->secret = true;
	request->done = authenticated;
	request->context = etcd;
	request->try_ms = AUTHENTICATE_MS; /* bcrypt takes its time */
	request->deadline = clock_monotonic(etcd->params.clock) + AUTHENTICATE_MS * NS_PER_MS;
	etcd_request_start(request);
}

static bool token_refused(const struct etcd_request *request, unsigned grpc)
{
	return request->needs_token && !request->renewed &&
	       (grpc == GRPC_UNAUTHENTICATED || (grpc == GRPC_PERMISSION_DENIED && request->watch != NULL));
}

/* Now, or once there is a token, or the pause is over. */
static void start_when_possible(struct etcd_request *request)
{
	struct etcd *etcd = request->etcd;
	etcd_request_abort(request);
	if (request->needs_token && etcd->token == NULL)
		authenticate(etcd);
	else if (clock_monotonic(etcd->params.clock) >= request->not_before)
		etcd_request_start(request);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

/* That etcd has no leader, or no time, says nothing about what becomes of a proposal. */
static void refused(struct etcd_request *request, json_t *body, const char *text, unsigned grpc)
{
	struct etcd *etcd = request->etcd;
	char copy[ETCD_TEXT];
	(void)snprintf(copy, sizeof copy, "%s: %s", etcd->params.endpoints[request->endpoint], text);
	if (token_refused(request, grpc)) {
		request->renewed = true;
		drop_token(etcd);
		start_when_possible(request);
	} else if (grpc == GRPC_UNAVAILABLE || grpc == GRPC_DEADLINE_EXCEEDED || strstr(text, "leader") != NULL) {
		request_retry(request, false, ETCD_NO_LEADER, copy);
	} else {
		struct etcd_answer answer = {.code = -EREMOTEIO, .text = copy, .grpc = grpc, .body = body};
		etcd->counters.failures[ETCD_REFUSED]++;
		request_end(request, &answer);
	}
}

static void count_latency(struct etcd_counters *counters, uint64_t latency)
{
	static const unsigned limits[] = {ETCD_LATENCY_MS};
	_Static_assert(ARRAY_SIZE(limits) + 1 == ETCD_LATENCIES, "one count for each, and one for more");
	size_t i = 0;
	while (i < ARRAY_SIZE(limits) && latency > limits[i] * NS_PER_MS)
		i++;
	counters->latency_counts[i]++;
	counters->latency_sum += latency;
	counters->answers++;
}

static void answered(struct etcd_request *request)
{
	struct etcd *etcd = request->etcd;
	json_error_t why;
	json_t *body = json_loadb(request->answer, request->length, 0, &why);
	unsigned grpc = 0;
	long status = 0;
	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	const char *text = body != NULL ? etcd_error_text(body, &grpc) : NULL;
	count_latency(&etcd->counters, clock_monotonic(etcd->params.clock) - request->sent);
	if (text != NULL) {
		refused(request, body, text, grpc);
	} else if (body == NULL || status != 200) {
		char copy[ETCD_TEXT];
		(void)snprintf(copy, sizeof copy, "%s: status %ld and no answer of etcd's",
			       etcd->params.endpoints[request->endpoint], status);
		request_retry(request, false, ETCD_NO_CONNECTION, copy);
	} else {
		struct etcd_answer answer = {.revision = etcd_revision(body), .body = body};
		etcd->failed[request->endpoint][0] = '\0';
		request_end(request, &answer);
	}
	json_decref(body);
}

static void finished(struct etcd_request *request, CURLcode code)
{
	struct etcd *etcd = request->etcd;
	if (request->watch != NULL) {
		etcd_watch_ended(request, code);
		return;
	}
	if (code == CURLE_OK) {
		answered(request);
		return;
	}
	char text[ETCD_TEXT];
	(void)snprintf(text, sizeof text, "%s: %s", etcd->params.endpoints[request->endpoint],
		       request->why[0] != '\0' ? request->why : curl_easy_strerror(code));
	curl_off_t sent = 0;
	curl_easy_getinfo(request->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	request_retry(request, sent == 0 && etcd_request_unsent(request, code),
		      code == CURLE_OPERATION_TIMEDOUT ? ETCD_LATE : ETCD_NO_CONNECTION, text);
}

/* --- running ------------------------------------------------------------------------------------------------------ */

static void finish_all(struct etcd *etcd)
{
	int left;
	for (CURLMsg *message; (message = curl_multi_info_read(etcd->multi, &left)) != NULL;) {
		if (message->msg != CURLMSG_DONE)
			continue;
		struct etcd_request *request = NULL;
		CURLcode code = message->data.result;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&request);
		finished(request, code);
	}
}

/* What every endpoint that did not answer last said, or why there is no token. */
static const char *describe_failures(const struct etcd *etcd, char text[ETCD_TEXT])
{
	size_t used = 0;
	bool refused_user = etcd->refusal[0] != '\0';
	(void)snprintf(text, ETCD_TEXT, "%s", refused_user ? etcd->refusal : "etcd: no answer in time");
	for (size_t i = 0; i < etcd->params.endpoint_count && used < ETCD_TEXT && !refused_user; i++) {
		if (etcd->failed[i][0] != '\0')
			used += (size_t)snprintf(text + used, ETCD_TEXT - used, "%s%s", used != 0 ? "; " : "",
						 etcd->failed[i]);
	}
	return text;
}

/* Starts those that wait and can be started; ends one that has no time left, and returns true: its function may have
 * changed the list, which is gone through again. */
static bool start_or_end(struct etcd *etcd, uint64_t now)
{
	struct etcd_request *request;
	cds_list_for_each_entry (request, &etcd->requests, node) {
		if (request->running)
			continue;
		if (now >= request->deadline && request->watch == NULL) {
			char text[ETCD_TEXT];
			request_fail(request, -ETIMEDOUT, describe_failures(etcd, text));
			return true;
		}
		start_when_possible(request);
	}
	return false;
}

int etcd_run(struct etcd *etcd, struct pollfd *polled, unsigned count, int timeout_ms)
{
	struct curl_waitfd extra[ETCD_POLLED_MAX] = {0};
	if (count > ETCD_POLLED_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++) {
		extra[i].fd = polled[i].fd;
		extra[i].events = (short)((polled[i].events & POLLIN ? CURL_WAIT_POLLIN : 0) |
					  (polled[i].events & POLLOUT ? CURL_WAIT_POLLOUT : 0));
	}
	const struct etcd_request *request;
	cds_list_for_each_entry (request, &etcd->requests, node) {
		if (!request->running && timeout_ms > ETCD_PAUSE_MS)
			timeout_ms = ETCD_PAUSE_MS;
	}
	int running;
	curl_multi_perform(etcd->multi, &running); /* sends what was begun since */
	finish_all(etcd);
	CURLMcode code = curl_multi_poll(etcd->multi, extra, count, timeout_ms, NULL);
	for (unsigned i = 0; i < count; i++)
		polled[i].revents = (short)((extra[i].revents & CURL_WAIT_POLLIN ? POLLIN : 0) |
					    (extra[i].revents & CURL_WAIT_POLLOUT ? POLLOUT : 0));
	if (code != CURLM_OK)
		return code == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO;
	curl_multi_perform(etcd->multi, &running);
	finish_all(etcd);
	while (start_or_end(etcd, clock_monotonic(etcd->params.clock)))
		;
	free_ended(etcd);
	return 0;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

struct etcd_limits {
	unsigned try_ms, limit_ms;
	bool repeatable; /* twice is as good as once */
};

static int begin(struct etcd *etcd, const char *path, json_t *body, const struct etcd_limits *limits,
		 etcd_done_fn *done, void *context)
{
	struct etcd_request *request = request_new(etcd, path, body);
	if (request == NULL)
		return -ENOMEM;
	request->done = done;
	request->context = context;
	request->repeatable = limits->repeatable;
	request->needs_token = etcd->params.user != NULL;
	request->try_ms = limits->try_ms != 0 ? limits->try_ms : ETCD_TRY_MS;
	request->deadline = clock_monotonic(etcd->params.clock) + limits->limit_ms * NS_PER_MS;
	start_when_possible(request);
	return 0;
}

int etcd_range(struct etcd *etcd, const struct etcd_range *range, unsigned try_ms, unsigned limit_ms,
	       etcd_done_fn *done, void *context)
{
	const struct etcd_limits limits = {try_ms, limit_ms, true};
	return begin(etcd, "/v3/kv/range", etcd_range_body(range), &limits, done, context);
}

int etcd_txn(struct etcd *etcd, struct etcd_txn *txn, bool reads_only, unsigned limit_ms, etcd_done_fn *done,
	     void *context)
{
	json_t *body;
	int result = etcd_txn_body(txn, &body);
	if (result != 0)
		return result;
	const struct etcd_limits limits = {reads_only ? ETCD_TRY_MS : limit_ms, limit_ms, reads_only};
	return begin(etcd, "/v3/kv/txn", body, &limits, done, context);
}

/* A lease that nothing uses ends by itself. */
int etcd_lease_grant(struct etcd *etcd, unsigned ttl, unsigned limit_ms, etcd_done_fn *done, void *context)
{
	const struct etcd_limits limits = {0, limit_ms, true};
	return begin(etcd, "/v3/lease/grant", json_pack("{s:i}", "TTL", (int)ttl), &limits, done, context);
}

static json_t *lease_body(int64_t lease)
{
	return json_pack("{s:o}", "ID", json_sprintf("%lld", (long long)lease));
}

int etcd_lease_keepalive(struct etcd *etcd, int64_t lease, unsigned limit_ms, etcd_done_fn *done, void *context)
{
	const struct etcd_limits limits = {0, limit_ms, true};
	return begin(etcd, "/v3/lease/keepalive", lease_body(lease), &limits, done, context);
}

/* --- for watches -------------------------------------------------------------------------------------------------- */

struct etcd_request *etcd_request_for_watch(struct etcd *etcd, json_t *body)
{
	struct etcd_request *request = request_new(etcd, "/v3/watch", body);
	if (request != NULL)
		request->needs_token = etcd->params.user != NULL;
	return request;
}

void etcd_request_launch(struct etcd_request *request)
{
	start_when_possible(request);
}

void etcd_request_drop(struct etcd_request *request)
{
	request_free(request);
}

bool etcd_request_renew(struct etcd_request *request, unsigned grpc)
{
	if (!token_refused(request, grpc))
		return false;
	request->renewed = true;
	drop_token(request->etcd);
	return true;
}

void etcd_endpoint_failed(struct etcd *etcd, size_t endpoint)
{
	etcd->counters.failures[ETCD_NO_CONNECTION]++;
	next_endpoint(etcd, endpoint);
}

/* --- the client --------------------------------------------------------------------------------------------------- */

static int check_file(const char *path, bool secret, struct error *error)
{
	struct stat status;
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return error_open(error, path, "cannot be opened");
	bool open = secret && (fstat(fileno(file), &status) != 0 || (status.st_mode & S_IRWXO) != 0);
	(void)fclose(file);
	return open ? error_set(error, -EPERM, "%s: other users may read it; chmod o= %s", path, path) : 0;
}

int etcd_check_files(const struct etcd_params *params, struct error *error)
{
	const char *const paths[] = {params->ca, params->cert, params->key};
	int result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(paths) && result == 0; i++)
		result = paths[i] != NULL ? check_file(paths[i], paths[i] == params->key, error) : 0;
	return result;
}

struct etcd *etcd_new(const struct etcd_params *params, struct error *error)
{
	if (etcd_check_files(params, error) != 0)
		return NULL;
	struct etcd *etcd = calloc(1, sizeof *etcd);
	if (etcd != NULL && curl_global_init(CURL_GLOBAL_DEFAULT) == 0) {
		etcd->params = *params;
		CDS_INIT_LIST_HEAD(&etcd->requests);
		CDS_INIT_LIST_HEAD(&etcd->ended);
		etcd->multi = curl_multi_init();
	}
	if (etcd == NULL || etcd->multi == NULL) {
		free(etcd);
		error_set(error, -ENOMEM, "etcd: no memory");
		return NULL;
	}
	return etcd;
}

void etcd_free(struct etcd *etcd)
{
	if (etcd == NULL)
		return;
	etcd->ending = true;
	while (!cds_list_empty(&etcd->requests)) {
		struct etcd_request *request = cds_list_first_entry(&etcd->requests, struct etcd_request, node);
		if (request->watch != NULL)
			etcd_watch_orphaned(request);
		request_fail(request, -ECANCELED, "etcd: the client ends");
	}
	free_ended(etcd);
	curl_multi_cleanup(etcd->multi);
	curl_global_cleanup();
	drop_token(etcd);
	free(etcd);
}
