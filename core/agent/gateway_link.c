// SPDX-License-Identifier: Apache-2.0
#include "core/agent/gateway_link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { READ_LEAST = 4096, TEXT_MAX = 512 };

struct gateway_link {
	const struct clock *clock;
	struct sockaddr_un address;
	int fd; /* -1: no connection */
	bool busy;
	int failed;    /* errno of the start; 0: none */
	char *request; /* with its end */
	size_t length, sent;
	char *answer;
	size_t filled, room;
	uint64_t deadline;
	gateway_link_fn *done;
	void *context;
};

struct gateway_link *gateway_link_new(const char *path, const struct clock *clock, struct error *error)
{
	struct gateway_link *link = calloc(1, sizeof *link);
	if (link == NULL || strlen(path) >= sizeof link->address.sun_path) {
		free(link);
		error_set(error, -ENAMETOOLONG, "%s: the path is too long for a socket", path);
		return NULL;
	}
	link->clock = clock;
	link->fd = -1;
	link->address.sun_family = AF_UNIX;
	memcpy(link->address.sun_path, path, strlen(path));
	return link;
}

static void drop(struct gateway_link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	free(link->request);
	free(link->answer);
	link->fd = -1;
	link->request = link->answer = NULL;
	link->length = link->sent = link->filled = link->room = 0;
	link->busy = false;
	link->failed = 0;
}

void gateway_link_free(struct gateway_link *link)
{
	if (link == NULL)
		return;
	drop(link);
	free(link);
}

bool gateway_link_busy(const struct gateway_link *link)
{
	return link->busy;
}

/* A full listen queue (EAGAIN) is a gateway that hangs: the request is late, and was never sent. */
static int open_connection(struct gateway_link *link)
{
	link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (link->fd < 0)
		return errno;
	if (connect(link->fd, (const struct sockaddr *)&link->address, sizeof link->address) == 0)
		return 0;
	return errno;
}

void gateway_link_send(struct gateway_link *link, const char *request, unsigned limit_ms, gateway_link_fn *done,
		       void *context)
{
	link->busy = true;
	link->done = done;
	link->context = context;
	link->deadline = clock_monotonic(link->clock) + limit_ms * NS_PER_MS;
	int length = asprintf(&link->request, "%s\n", request);
	link->length = length > 0 ? (size_t)length : 0;
	if (length < 0) {
		link->request = NULL;
		link->failed = ENOMEM;
	} else {
		link->failed = open_connection(link);
	}
}

bool gateway_link_poll(const struct gateway_link *link, struct pollfd *polled)
{
	if (!link->busy || link->fd < 0 || link->failed != 0)
		return false;
	*polled = (struct pollfd){.fd = link->fd, .events = link->sent < link->length ? POLLOUT : POLLIN};
	return true;
}

uint64_t gateway_link_deadline(const struct gateway_link *link)
{
	if (!link->busy)
		return 0;
	return link->failed != 0 && link->failed != EAGAIN ? 1 : link->deadline;
}

/* --- the end of a request ----------------------------------------------------------------------------------------- */

static void finish(struct gateway_link *link, enum ownership_answer answer, json_t *result, const char *text)
{
	gateway_link_fn *done = link->done;
	void *context = link->context;
	drop(link);
	done(context, answer, result, text);
}

static void fail(struct gateway_link *link, enum ownership_answer answer, const char *why)
{
	char text[TEXT_MAX];
	(void)snprintf(text, sizeof text, "%s: %s", link->address.sun_path, why);
	finish(link, answer, NULL, text);
}

static void parse(struct gateway_link *link)
{
	json_t *object = json_loadb(link->answer, link->filled, 0, NULL);
	const char *text = json_string_value(json_object_get(object, "error"));
	char copy[TEXT_MAX];
	if (json_is_true(json_object_get(object, "ok"))) {
		finish(link, OWNERSHIP_ANSWERED, json_object_get(object, "result"), NULL);
	} else if (text != NULL) {
		(void)snprintf(copy, sizeof copy, "%s: %s", link->address.sun_path, text);
		finish(link, OWNERSHIP_DECLINED, NULL, copy);
	} else {
		fail(link, OWNERSHIP_UNANSWERED, "the answer is not that of a gateway");
	}
	json_decref(object);
}

/* --- bytes -------------------------------------------------------------------------------------------------------- */

static void write_request(struct gateway_link *link)
{
	ssize_t sent = send(link->fd, link->request + link->sent, link->length - link->sent, MSG_NOSIGNAL);
	if (sent > 0) {
		link->sent += (size_t)sent;
	} else if (errno != EAGAIN && errno != EINTR) {
		/* It may have sent an answer before it closed. */
		link->sent = link->length;
	}
}

static void read_answer(struct gateway_link *link)
{
	if (link->room - link->filled < READ_LEAST) {
		size_t room = link->room + READ_LEAST + link->room;
		char *answer = room <= GATEWAY_LINK_ANSWER_MAX ? realloc(link->answer, room) : NULL;
		if (answer == NULL) {
			fail(link, OWNERSHIP_UNANSWERED, "no room for the answer");
			return;
		}
		link->answer = answer;
		link->room = room;
	}
	ssize_t got = recv(link->fd, link->answer + link->filled, link->room - link->filled, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0)
		link->filled += (size_t)got;
	else if (link->filled != 0)
		parse(link);
	else
		fail(link, OWNERSHIP_UNANSWERED, "the gateway closed the connection without an answer");
}

void gateway_link_run(struct gateway_link *link)
{
	if (!link->busy)
		return;
	if (link->failed == ENOENT || link->failed == ECONNREFUSED) {
		fail(link, OWNERSHIP_NO_GATEWAY, "no gateway listens there");
	} else if (link->failed != 0 && link->failed != EAGAIN) {
		fail(link, OWNERSHIP_UNANSWERED, strerror(link->failed));
	} else if (clock_monotonic(link->clock) >= link->deadline) {
		fail(link, OWNERSHIP_UNANSWERED, "no answer in time");
	} else if (link->failed == 0) {
		if (link->sent < link->length)
			write_request(link);
		else
			read_answer(link);
	}
}
