// SPDX-License-Identifier: Apache-2.0
#include "tun/nftables_exchange.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/base/clock.h"
#include "core/base/error.h"

enum { ANSWER_MAX = 64 * 1048576 /* of a query */ };

#define OLD (2 * NS_PER_S)

void nftables_exchange_end(struct nftables_exchange *exchange)
{
	free(exchange->payload);
	free(exchange->text);
	*exchange = (struct nftables_exchange){0};
}

int nftables_exchange_begin(struct nftables_exchange *exchange, const struct nftables_request *request,
			    const char *payload)
{
	nftables_exchange_end(exchange);
	exchange->payload = strdup(payload);
	if (exchange->payload == NULL)
		return -ENOMEM;
	exchange->request = *request;
	exchange->began = clock_monotonic(&clock_system);
	return 0;
}

bool nftables_exchange_is(const struct nftables_exchange *exchange, const struct nftables_request *request,
			  const char *payload)
{
	const struct nftables_request *own = &exchange->request;
	return exchange->payload != NULL && own->operation == request->operation && own->family == request->family &&
	       own->outlives == request->outlives && own->may_outlive == request->may_outlive &&
	       strcmp(own->name, request->name) == 0 && strcmp(exchange->payload, payload) == 0;
}

uint64_t nftables_exchange_age(const struct nftables_exchange *exchange)
{
	return (clock_monotonic(&clock_system) - exchange->began) / NS_PER_MS;
}

bool nftables_exchange_is_old(const struct nftables_exchange *exchange)
{
	return exchange->answered && clock_monotonic(&clock_system) - exchange->ended > OLD;
}

/* What recv() or send() says: 1 bytes passed, 0 none just now. */
static int passed(ssize_t bytes, size_t *total)
{
	if (bytes < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	*total += (size_t)bytes;
	return bytes > 0 ? 1 : -EPIPE;
}

static bool is_sent(const struct nftables_exchange *exchange)
{
	return exchange->sent == sizeof exchange->request + exchange->request.length;
}

static int send_more(struct nftables_exchange *exchange, int fd)
{
	size_t head = sizeof exchange->request, at = exchange->sent;
	bool first = at < head;
	const char *from = first ? (const char *)&exchange->request + at : exchange->payload + (at - head);
	size_t left = first ? head - at : head + exchange->request.length - at;
	return passed(send(fd, from, left, MSG_DONTWAIT | MSG_NOSIGNAL), &exchange->sent);
}

/* 1 also when nothing is left to receive. */
static int receive_more(struct nftables_exchange *exchange, int fd)
{
	size_t head = sizeof exchange->answer;
	int result = 1;
	if (exchange->received < head)
		result = passed(recv(fd, (char *)&exchange->answer + exchange->received, head - exchange->received,
				     MSG_DONTWAIT),
				&exchange->received);
	else if (exchange->received < head + exchange->answer.length)
		result = passed(recv(fd, exchange->text + (exchange->received - head),
				     head + exchange->answer.length - exchange->received, MSG_DONTWAIT),
				&exchange->received);
	if (exchange->received == head && exchange->text == NULL) {
		bool fits = exchange->answer.length <= ANSWER_MAX;
		exchange->text = fits ? malloc((size_t)exchange->answer.length + 1) : NULL;
		if (exchange->text == NULL)
			return -EPIPE;
		exchange->text[exchange->answer.length] = '\0';
	}
	exchange->answered = exchange->text != NULL && exchange->received == head + exchange->answer.length;
	exchange->ended = exchange->answered ? clock_monotonic(&clock_system) : 0;
	return result;
}

int nftables_exchange_step(struct nftables_exchange *exchange, int fd, int wait_ms)
{
	uint64_t end = clock_monotonic(&clock_system) + (unsigned)wait_ms * NS_PER_MS;
	while (!exchange->answered) {
		bool sending = !is_sent(exchange);
		int result = sending ? send_more(exchange, fd) : receive_more(exchange, fd);
		if (result < 0)
			return result;
		if (result > 0)
			continue;
		uint64_t now = clock_monotonic(&clock_system);
		if (now >= end)
			return 0;
		struct pollfd polled = {.fd = fd, .events = sending ? POLLOUT : POLLIN};
		(void)poll(&polled, 1, (int)((end - now + NS_PER_MS - 1) / NS_PER_MS));
	}
	return 1;
}
