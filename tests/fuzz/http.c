// SPDX-License-Identifier: Apache-2.0
/* The HTTP server against whatever clients send, in pieces, on several connections at once: it answers in HTTP or not
 * at all, only to hosts that are ours, and forgets every closed connection. */
#include "perf/export/http.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "perf/export/http_host.h"
#include "perf/export/page.h"
#include "tests/fuzz/input.h"

enum { CLIENTS = 4, STEPS = 24, LONGEST = 12000, PATIENCE = 1000 };

static struct http_server *server;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_length;
static char policy[PAGE_POLICY_MAX];

static void say_page(void *context, struct http_answer *answer)
{
	(void)context;
	*answer = (struct http_answer){200, "text/html; charset=utf-8", (char *)(uintptr_t)page_html, page_length(),
				       true};
}

static void say_metrics(void *context, struct http_answer *answer)
{
	(void)context;
	*answer = (struct http_answer){200, "text/plain", strdup("figure 1\n"), 9, false};
}

static void say_nothing(void *context, struct http_answer *answer)
{
	(void)context, (void)answer;
}

static void open_server(void)
{
	static const struct http_route routes[] = {
		{"/", say_page}, {"/metrics", say_metrics}, {"/nothing", say_nothing}};
	if (server != NULL)
		return;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "shardtun-fuzz-http-%d",
			      (int)getpid());
	address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
	insist(bind(fd, (const struct sockaddr *)&address, address_length) == 0 && listen(fd, CLIENTS) == 0,
	       "a socket");
	static struct http_params params = {.routes = routes, .route_count = ARRAY_SIZE(routes), .own_name = "gateway"};
	params.listen_fd = fd;
	params.content_policy = page_policy(policy);
	struct error error = {0};
	server = http_open(&params, &error);
	insist(server != NULL, error.text);
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool full = false;
	for (unsigned i = 0; i < PATIENCE && fd >= 0; i++) {
		if (connect(fd, (const struct sockaddr *)&address, address_length) == 0)
			return fd;
		full = errno == EAGAIN; /* until a connection is accepted */
		(void)http_step(server);
	}
	insist(full, "a connection");
	close(fd);
	return -1;
}

/* What came starts as an answer does, and one that is no refusal says what may run on the page. */
static void look_at_answer(int fd)
{
	static char text[1 << 16];
	ssize_t got = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
	if (got <= 0)
		return;
	text[got] = '\0';
	static const char protocol[] = "HTTP/1.";
	insist((size_t)got < sizeof protocol || strncmp(text, protocol, sizeof protocol - 1) == 0, "it speaks HTTP");
	insist(strncmp(text, "HTTP/1.1 200", 12) != 0 || strstr(text, "Content-Security-Policy: default-src") != NULL,
	       "a page is fenced in");
}

static void step(struct input *input, int clients[CLIENTS])
{
	static uint8_t data[LONGEST];
	uint8_t choice = input_byte(input);
	int *fd = &clients[choice % CLIENTS];
	if (*fd < 0)
		*fd = dial();
	size_t length = input_bytes(input, data, sizeof data);
	if (*fd < 0)
		return;
	if (length != 0)
		(void)send(*fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	if ((choice & 0x10) != 0)
		(void)shutdown(*fd, SHUT_WR);
	if ((choice & 0x20) == 0)
		(void)http_step(server);
	if ((choice & 0x40) != 0) {
		close(*fd);
		*fd = -1;
	}
}

static void look_at_host(const uint8_t *data, size_t size)
{
	char host[256];
	size_t length = size < sizeof host - 1 ? size : sizeof host - 1;
	if (length != 0)
		memcpy(host, data, length);
	host[length] = '\0';
	bool ours = http_host_is_ours(host, "gateway");
	insist(!ours || strspn(host, "0123456789abcdefABCDEF.:[]gatewylocalhosGATEWYLOCALHOS%") > 0,
	       "a host of ours is an address or a name of ours");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int clients[CLIENTS] = {-1, -1, -1, -1};
	struct input input = {data, size};
	look_at_host(data, size);
	open_server();
	for (unsigned i = 0; i < STEPS && input.left > 0; i++)
		step(&input, clients);
	(void)http_step(server);
	for (size_t i = 0; i < CLIENTS; i++) {
		if (clients[i] < 0)
			continue;
		look_at_answer(clients[i]);
		close(clients[i]);
	}
	size_t open = 1;
	for (unsigned i = 0; i < PATIENCE && open != 0; i++)
		open = http_step(server);
	insist(open == 0, "who is gone is forgotten");
	return 0;
}
