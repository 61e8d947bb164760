// SPDX-License-Identifier: Apache-2.0
/* An HTTP server (libmicrohttpd) that stands for etcd's JSON gateway: the test gives the answers. */
#pragma once

#include <jansson.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STAND_IN_URL = 64, STAND_IN_BODY = 1 << 17 };

struct stand_in;

/* What is answered; on the server's threads. */
struct stand_in_reply {
	unsigned status;
	char *text;    /* from malloc(); NULL: the connection is closed after all of the request was read */
	bool stays;    /* the answer does not end, as a watch's */
	unsigned wait; /* ms before it */
};
typedef void stand_in_fn(struct stand_in *server, const char *path, json_t *request, const char *token,
			 struct stand_in_reply *reply);

struct stand_in {
	struct MHD_Daemon *daemon;
	char url[STAND_IN_URL];
	stand_in_fn *answer;
	atomic_uint requests;
	atomic_bool ending;
	void *state; /* the test's */
};

struct stand_in_body {
	size_t length;
	char text[STAND_IN_BODY];
};

struct stand_in_stream {
	struct stand_in *server;
	char *text;
};

static ssize_t stand_in_read(void *context, uint64_t position, char *buffer, size_t room)
{
	struct stand_in_stream *stream = context;
	size_t length = strlen(stream->text), left = length > position ? length - position : 0;
	if (left == 0 && atomic_load(&stream->server->ending))
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (left == 0) {
		usleep(2000);
		return 0;
	}
	size_t count = left < room ? left : room;
	memcpy(buffer, stream->text + position, count);
	return (ssize_t)count;
}

static void stand_in_free(void *context)
{
	struct stand_in_stream *stream = context;
	free(stream->text);
	free(stream);
}

static enum MHD_Result stand_in_send(struct stand_in *server, struct MHD_Connection *connection,
				     const struct stand_in_reply *reply)
{
	struct MHD_Response *response;
	if (reply->text == NULL)
		return MHD_NO;
	if (reply->stays) {
		struct stand_in_stream *stream = malloc(sizeof *stream);
		*stream = (struct stand_in_stream){server, reply->text};
		response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, stand_in_read, stream,
							     stand_in_free);
	} else {
		response = MHD_create_response_from_buffer(strlen(reply->text), reply->text, MHD_RESPMEM_MUST_FREE);
	}
	enum MHD_Result result = MHD_queue_response(connection, reply->status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result stand_in_handle(void *context, struct MHD_Connection *connection, const char *url,
				       const char *method, const char *version, const char *bytes, size_t *size,
				       void **state)
{
	struct stand_in *server = context;
	(void)method, (void)version;
	if (*state == NULL) {
		*state = calloc(1, sizeof(struct stand_in_body));
		return *state != NULL ? MHD_YES : MHD_NO;
	}
	struct stand_in_body *body = *state;
	if (*size != 0) {
		if (body->length + *size >= sizeof body->text)
			return MHD_NO;
		memcpy(body->text + body->length, bytes, *size);
		body->length += *size;
		*size = 0;
		return MHD_YES;
	}
	struct stand_in_reply reply = {.status = 200};
	json_t *request = json_loads(body->text, 0, NULL);
	atomic_fetch_add(&server->requests, 1);
	server->answer(server, url, request, MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization"),
		       &reply);
	json_decref(request);
	for (unsigned ms = 0; ms < reply.wait && !atomic_load(&server->ending); ms += 5)
		usleep(5000);
	return stand_in_send(server, connection, &reply);
}

static void stand_in_completed(void *context, struct MHD_Connection *connection, void **state,
			       enum MHD_RequestTerminationCode code)
{
	(void)context, (void)connection, (void)code;
	free(*state);
	*state = NULL;
}

static inline void stand_in_start(struct stand_in *server, stand_in_fn *answer, void *state)
{
	server->answer = answer;
	server->state = state;
	server->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0, NULL,
					  NULL, stand_in_handle, server, MHD_OPTION_NOTIFY_COMPLETED,
					  stand_in_completed, NULL, MHD_OPTION_END);
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT);
	(void)snprintf(server->url, sizeof server->url, "http://127.0.0.1:%u", (unsigned)info->port);
}

static inline void stand_in_stop(struct stand_in *server)
{
	atomic_store(&server->ending, true);
	MHD_stop_daemon(server->daemon);
}
