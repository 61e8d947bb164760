// SPDX-License-Identifier: Apache-2.0
/* Watches: an answer without end, one line of JSON for each group of changes. */
#include <stdlib.h>
#include <string.h>

#include "core/agent/etcd_request.h"

struct etcd_watch {
	struct etcd_request *request; /* NULL: ended */
	etcd_event_fn *event;
	void *context;
	bool delivering; /* its function runs */
	bool stopped;	 /* within that: to be freed afterwards */
	bool over;	 /* COMPACTED or LOST has been reported */
	bool renewing;	 /* ends to begin again with another token */
	uint64_t heard;	 /* monotonic ns; 0: nothing came yet */
};

static void report(struct etcd_watch *watch, const struct etcd_event *event)
{
	if (watch->stopped || watch->over)
		return;
	watch->over = event->kind == ETCD_COMPACTED || event->kind == ETCD_LOST;
	watch->event(watch->context, event);
}

static void lose(struct etcd_watch *watch, const char *text)
{
	const struct etcd_event event = {.kind = ETCD_LOST, .text = text};
	report(watch, &event);
}

/* Returns its revision; 0: it is none. */
static uint64_t one_event(struct etcd_watch *watch, json_t *object)
{
	const char *type = json_string_value(json_object_get(object, "type"));
	struct etcd_kv kv;
	if (etcd_kv_read(json_object_get(object, "kv"), &kv) != 0) {
		lose(watch, "an event of a watch has no key");
		return 0;
	}
	/* PUT is the number 0, and left out. */
	const struct etcd_event event = {.kind = type != NULL && strcmp(type, "DELETE") == 0 ? ETCD_DELETE : ETCD_PUT,
					 .revision = kv.mod_revision,
					 .kv = &kv};
	report(watch, &event);
	etcd_kv_free(&kv);
	return event.revision;
}

static void one_result(struct etcd_watch *watch, json_t *result)
{
	uint64_t compacted = etcd_number(result, "compact_revision");
	if (compacted != 0) {
		const struct etcd_event event = {.kind = ETCD_COMPACTED, .revision = compacted};
		report(watch, &event);
		return;
	}
	if (json_is_true(json_object_get(result, "canceled"))) {
		const char *reason = json_string_value(json_object_get(result, "cancel_reason"));
		/* That is what 3.4 says of an expired token. */
		if (reason != NULL && strstr(reason, "permission denied") != NULL &&
		    etcd_request_renew(watch->request, GRPC_PERMISSION_DENIED))
			watch->renewing = true;
		else
			lose(watch, reason != NULL ? reason : "etcd ended the watch");
		return;
	}
	if (json_is_true(json_object_get(result, "created"))) {
		const struct etcd_event event = {.kind = ETCD_WATCHING, .revision = etcd_revision(result)};
		report(watch, &event);
	}
	json_t *events = json_object_get(result, "events"), *object;
	size_t index;
	uint64_t last = 0;
	json_array_foreach (events, index, object)
		last = one_event(watch, object);
	/* Not the header's: that is the store's present one also while a late watch catches up in batches of 1000. A
	 * batch has all of a revision. */
	if (last != 0) {
		const struct etcd_event event = {.kind = ETCD_SEEN, .revision = last};
		report(watch, &event);
	}
}

static void one_line(struct etcd_watch *watch, const char *line, size_t length)
{
	json_t *object = json_loadb(line, length, 0, NULL);
	unsigned grpc = 0;
	const char *text = object != NULL ? etcd_error_text(object, &grpc) : "a line of a watch is no JSON";
	if (text != NULL && object != NULL && etcd_request_renew(watch->request, grpc))
		watch->renewing = true;
	else if (text != NULL)
		lose(watch, text);
	else
		one_result(watch, json_object_get(object, "result"));
	json_decref(object);
}

/* Called by libcurl, where nothing may be started or freed: a watch that ends makes the transfer fail. */
size_t etcd_watch_received(char *bytes, size_t size, size_t count, void *context)
{
	struct etcd_request *request = context;
	struct etcd_watch *watch = request->watch;
	if (!etcd_request_append(request, bytes, size * count))
		return 0;
	watch->heard = clock_monotonic(request->etcd->params.clock);
	watch->delivering = true;
	size_t start = 0;
	while (!watch->stopped && !watch->over && !watch->renewing) {
		const char *line = request->answer + start;
		const char *end = memchr(line, '\n', request->length - start);
		if (end == NULL)
			break;
		if (end != line)
			one_line(watch, line, (size_t)(end - line));
		start += (size_t)(end - line) + 1;
	}
	watch->delivering = false;
	memmove(request->answer, request->answer + start, request->length - start);
	request->length -= start;
	return watch->stopped || watch->over || watch->renewing ? 0 : size * count;
}

static void watch_end(struct etcd_watch *watch)
{
	struct etcd_request *request = watch->request;
	watch->request = NULL;
	if (request != NULL)
		etcd_request_drop(request);
	if (watch->stopped)
		free(watch);
}

void etcd_watch_ended(struct etcd_request *request, CURLcode code)
{
	struct etcd_watch *watch = request->watch;
	unsigned grpc = 0;
	if (watch->stopped || watch->over) {
		watch_end(watch);
		return;
	}
	/* An error of the request, before there was a stream, has no newline. */
	json_t *rest = request->length != 0 ? json_loadb(request->answer, request->length, 0, NULL) : NULL;
	const char *text = rest != NULL ? etcd_error_text(rest, &grpc) : NULL;
	if (watch->renewing || (text != NULL && etcd_request_renew(request, grpc))) {
		watch->renewing = false;
		etcd_request_launch(request);
		json_decref(rest);
		return;
	}
	etcd_endpoint_failed(request->etcd, request->endpoint);
	if (text == NULL)
		text = code == CURLE_OK		 ? "etcd closed the watch"
		       : request->why[0] != '\0' ? request->why
						 : curl_easy_strerror(code);
	watch->delivering = true;
	lose(watch, text);
	watch->delivering = false;
	json_decref(rest);
	watch_end(watch);
}

void etcd_watch_orphaned(struct etcd_request *request)
{
	struct etcd_watch *watch = request->watch;
	watch->request = NULL;
	request->watch = NULL;
	if (watch->stopped)
		free(watch);
}

struct etcd_watch *etcd_watch_start(struct etcd *etcd, const char *prefix, uint64_t from_revision, etcd_event_fn *event,
				    void *context)
{
	struct etcd_watch *watch = calloc(1, sizeof *watch);
	if (watch == NULL)
		return NULL;
	watch->event = event;
	watch->context = context;
	watch->request = etcd_request_for_watch(etcd, etcd_watch_body(prefix, from_revision));
	if (watch->request == NULL) {
		free(watch);
		return NULL;
	}
	watch->request->watch = watch;
	etcd_request_launch(watch->request);
	return watch;
}

bool etcd_watch_in_doubt(const struct etcd_watch *watch)
{
	const struct etcd_request *request = watch->request;
	if (request == NULL || !request->running)
		return false;
	uint64_t failed_at = request->etcd->failed_at[request->endpoint];
	return failed_at > request->sent && failed_at > watch->heard;
}

void etcd_watch_stop(struct etcd_watch *watch)
{
	if (watch == NULL)
		return;
	watch->stopped = true;
	if (!watch->delivering)
		watch_end(watch);
}
