// SPDX-License-Identifier: Apache-2.0
/* Requests to the gateway's control socket (core/control/control.h) without blocking: one at a time for each link, each
 * by a connection of its own. One thread. */
#pragma once

#include <jansson.h>
#include <poll.h>
#include <stdbool.h>

#include "core/agent/ownership.h"
#include "core/base/clock.h"
#include "core/base/error.h"

enum { GATEWAY_LINK_ANSWER_MAX = 1 << 20 };

/* `result` is borrowed, and NULL unless it is OWNERSHIP_ANSWERED; else `text` says why in one line. May send the next
 * request. */
typedef void gateway_link_fn(void *context, enum ownership_answer answer, json_t *result, const char *text);

struct gateway_link;

/* `path` and `clock` are borrowed. NULL: no memory, or the path is too long. */
struct gateway_link *gateway_link_new(const char *path, const struct clock *clock, struct error *error);

/* The function of a request under way is not called. NULL is allowed. */
void gateway_link_free(struct gateway_link *link);

/* Whether a request is under way. */
bool gateway_link_busy(const struct gateway_link *link);

/* Sends a request line, without its end, to be answered within so many ms. Only while not busy. The function is called
 * from gateway_link_run(), once. */
void gateway_link_send(struct gateway_link *link, const char *request, unsigned limit_ms, gateway_link_fn *done,
		       void *context);

/* What to wait for; false: nothing. At gateway_link_deadline() (monotonic ns, 0: none) the request is late. */
bool gateway_link_poll(const struct gateway_link *link, struct pollfd *polled);
uint64_t gateway_link_deadline(const struct gateway_link *link);

/* After waiting, whatever came. */
void gateway_link_run(struct gateway_link *link);
