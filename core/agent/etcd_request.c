// SPDX-License-Identifier: Apache-2.0
#include "core/agent/etcd_request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_FIRST = 16384, URL_MAX = 512 };

bool etcd_request_append(struct etcd_request *request, const char *bytes, size_t count)
{
	size_t room = request->room != 0 ? request->room : ROOM_FIRST;
	while (room < request->length + count)
		room *= 2;
	if (room > ETCD_ANSWER_MAX)
		return false;
	if (room != request->room) {
		char *answer = realloc(request->answer, room);
		if (answer == NULL)
			return false;
		request->answer = answer;
		request->room = room;
	}
	memcpy(request->answer + request->length, bytes, count);
	request->length += count;
	return true;
}

static size_t received(char *bytes, size_t size, size_t count, void *context)
{
	return etcd_request_append(context, bytes, size * count) ? size * count : 0;
}

/* One of them has the token. */
static void free_headers(struct etcd_request *request)
{
	for (struct curl_slist *line = request->headers; line != NULL; line = line->next)
		explicit_bzero(line->data, strlen(line->data));
	curl_slist_free_all(request->headers);
	request->headers = NULL;
}

static bool set_headers(struct etcd_request *request)
{
	const char *token = request->needs_token ? request->etcd->token : NULL;
	char *line;
	free_headers(request);
	/* No "Expect: 100-continue": it would cost a round trip. */
	request->headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (request->headers == NULL || curl_slist_append(request->headers, "Expect:") == NULL)
		return false;
	if (token == NULL)
		return true;
	if (asprintf(&line, "Authorization: %s", token) < 0)
		return false;
	bool done = curl_slist_append(request->headers, line) != NULL;
	explicit_bzero(line, strlen(line));
	free(line);
	return done;
}

static void set_tls(CURL *easy, const struct etcd_params *params)
{
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (params->ca != NULL) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, params->ca);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (params->cert != NULL)
		curl_easy_setopt(easy, CURLOPT_SSLCERT, params->cert);
	if (params->key != NULL)
		curl_easy_setopt(easy, CURLOPT_SSLKEY, params->key);
}

/* A watch has no limit in time: what is lost of it is found by other means (etcd_watch_start()). Keepalive of TCP ends
 * its connection some time after that; as libcurl sets it when it connects, and a watch may take over the connection of
 * another request, all have it. */
static void set_times(const struct etcd_request *request, uint64_t now)
{
	if (request->watch == NULL) {
		uint64_t left = request->deadline > now ? (request->deadline - now) / NS_PER_MS + 1 : 1;
		long limit = left < request->try_ms ? (long)left : (long)request->try_ms;
		curl_easy_setopt(request->easy, CURLOPT_TIMEOUT_MS, limit);
	}
	curl_easy_setopt(request->easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(request->easy, CURLOPT_TCP_KEEPIDLE, 5L);
	curl_easy_setopt(request->easy, CURLOPT_TCP_KEEPINTVL, 2L);
	curl_easy_setopt(request->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)ETCD_CONNECT_MS);
}

void etcd_request_start(struct etcd_request *request)
{
	struct etcd *etcd = request->etcd;
	CURL *easy = request->easy;
	char url[URL_MAX];
	etcd_request_abort(request);
	request->endpoint = etcd->current;
	(void)snprintf(url, sizeof url, "%s%s", etcd->params.endpoints[request->endpoint], request->path);
	if (!set_headers(request))
		return; /* it stays in the list, and is started again */
	curl_easy_reset(easy);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* whatever the environment says */
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, request->headers);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(request->body));
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, request->watch != NULL ? etcd_watch_received : received);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->why);
	set_tls(easy, &etcd->params);
	uint64_t now = clock_monotonic(etcd->params.clock);
	set_times(request, now);
	request->sent = now;
	request->running = curl_multi_add_handle(etcd->multi, easy) == CURLM_OK;
	if (request->running)
		etcd->counters.requests++;
}

void etcd_request_abort(struct etcd_request *request)
{
	if (request->running)
		curl_multi_remove_handle(request->etcd->multi, request->easy);
	free_headers(request);
	request->running = false;
	request->length = 0;
	request->why[0] = '\0';
}

bool etcd_request_unsent(const struct etcd_request *request, CURLcode code)
{
	curl_off_t connected = 0;
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
		return true;
	default:
		/* Time ran out before the connection stood. */
		curl_easy_getinfo(request->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
		return connected == 0;
	}
}
