// SPDX-License-Identifier: Apache-2.0
#include "tun/nftables.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tun/nftables_exchange.h"

enum {
	ANSWER_MS = 30000, /* enough for thousands of elements on a busy machine; then the process is killed */
	KEPT = 4,	   /* answers: as many callers have requests of their own */
};

struct nftables {
	struct nftables_confine confine;
	int held; /* the caller's */
	int fd;	  /* -1: no process */
	pid_t pid;
	struct nftables_exchange exchange;   /* the last one, until its answer is fetched, or another one begins */
	struct nftables_exchange kept[KEPT]; /* answered, and not fetched yet */
	int wait_ms;			     /* for an answer; ANSWER_MS: as long as the process may take */
	int epoll_fd;			     /* with `fd` in it; -1: answers are waited for */
	pid_t killed;			     /* and not ended yet; 0: none */
	unsigned starts;
};

bool nftables_is_absent(int code)
{
	return code == -EOPNOTSUPP || code == -EPROTONOSUPPORT || code == -EAFNOSUPPORT;
}

/* --- the process -------------------------------------------------------------------------------------------------- */

/* libnftables writes to stderr before it calls exit(). */
static void silence(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDERR_FILENO) < 0)
		close(STDERR_FILENO);
	if (null > STDERR_FILENO)
		close(null);
}

/* Descriptors first: inherited locks and devices would stay open here after the parent's end. */
static void child(const struct nftables *nftables, int fd)
{
	enum { REQUESTS = STDERR_FILENO + 1, HELD };
	const struct nftables_confine *confine = &nftables->confine;
	bool holds = nftables->held >= 0;
	int held = nftables->held == REQUESTS ? dup(REQUESTS) : nftables->held;
	if ((holds && held < 0) || dup2(fd, REQUESTS) < 0 || (holds && dup2(held, HELD) < 0))
		_exit(1);
	close_range((unsigned)(holds ? HELD : REQUESTS) + 1, ~0u, 0);
	silence();
	(void)prctl(PR_SET_NAME, "nftables");
	if (confine->run != NULL && confine->run(confine->context) != 0)
		_exit(1);
	nftables_process_run(REQUESTS);
}

static void watch(const struct nftables *nftables)
{
	struct epoll_event event = {.events = EPOLLIN};
	if (nftables->epoll_fd >= 0 && nftables->fd >= 0)
		(void)epoll_ctl(nftables->epoll_fd, EPOLL_CTL_ADD, nftables->fd, &event);
}

/* A killed process ends once the kernel lets go of it, which may take as long as what it was killed for. */
static bool has_ended(struct nftables *nftables)
{
	int flags = nftables->wait_ms < ANSWER_MS ? WNOHANG : 0;
	pid_t ended = 0;
	while (nftables->killed != 0 && (ended = waitpid(nftables->killed, NULL, flags)) < 0 && errno == EINTR)
		;
	if (ended != 0)
		nftables->killed = 0;
	return nftables->killed == 0;
}

static int start(struct nftables *nftables, struct error *error)
{
	int ends[2];
	if (!has_ended(nftables))
		return error_set(error, -EINPROGRESS, "nftables: its process hangs, and has not ended yet");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return error_set(error, -errno, "nftables: socketpair: %s", strerror(errno));
	pid_t pid = fork();
	int failure = errno;
	if (pid == 0)
		child(nftables, ends[1]);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return error_set(error, -failure, "nftables: fork: %s", strerror(failure));
	}
	nftables->fd = ends[0];
	nftables->pid = pid;
	nftables->starts++;
	watch(nftables);
	return 0;
}

/* Answers about the table that a request is about, or all. */
static void forget_kept(struct nftables *nftables, const struct nftables_request *request)
{
	for (size_t i = 0; i < KEPT; i++) {
		struct nftables_exchange *kept = &nftables->kept[i];
		if (request == NULL ||
		    (kept->request.family == request->family && strcmp(kept->request.name, request->name) == 0))
			nftables_exchange_end(kept);
	}
}

/* What the process has done, and not yet said to its caller, may have ended with it. */
static void stop(struct nftables *nftables, bool at_once)
{
	forget_kept(nftables, NULL);
	if (nftables->exchange.answered)
		nftables_exchange_end(&nftables->exchange);
	if (nftables->fd < 0)
		return;
	close(nftables->fd);
	if (at_once)
		(void)kill(nftables->pid, SIGKILL);
	nftables->fd = -1;
	nftables->killed = nftables->pid;
	(void)has_ended(nftables);
}

struct nftables *nftables_open(const struct nftables_confine *confine, int held, struct error *error)
{
	struct nftables *nftables = calloc(1, sizeof *nftables);
	if (nftables == NULL) {
		error_set(error, -ENOMEM, "nftables: out of memory");
		return NULL;
	}
	nftables->fd = nftables->epoll_fd = -1;
	nftables->wait_ms = ANSWER_MS;
	nftables->held = held;
	if (confine != NULL)
		nftables->confine = *confine;
	if (start(nftables, error) == 0)
		return nftables;
	free(nftables);
	return NULL;
}

void nftables_inherit(struct nftables *nftables)
{
	nftables->confine.run = NULL;
}

void nftables_close(struct nftables *nftables)
{
	if (nftables == NULL)
		return;
	nftables_wait(nftables);
	stop(nftables, nftables->exchange.payload != NULL && !nftables->exchange.answered);
	nftables_exchange_end(&nftables->exchange);
	if (nftables->epoll_fd >= 0)
		close(nftables->epoll_fd);
	free(nftables);
}

/* --- one request and its answer ----------------------------------------------------------------------------------- */

static int fail(struct error *error, const char *subject, int code, const char *text)
{
	if (nftables_is_absent(code))
		return error_set(error, code,
				 "%s: this kernel has no nf_tables; load it (modprobe nf_tables), or do without %s",
				 subject, subject);
	if (code == -EPERM)
		return error_set(error, code, "%s: nftables: %s; run as root or with CAP_NET_ADMIN", subject, text);
	return error_set(error, code, "%s: nftables: %s", subject, text);
}

/* 1: the answer is there; 0: not yet; negative: the process has ended, or was ended because it did not answer. `begun`:
 * just now. Only then it is waited for, else a caller that looks again and again would wait each time. */
static int advance(struct nftables *nftables, bool begun)
{
	struct nftables_exchange *exchange = &nftables->exchange;
	bool waits = nftables->wait_ms == ANSWER_MS;
	uint64_t age = nftables_exchange_age(exchange);
	int most = !waits ? nftables->wait_ms : age < ANSWER_MS ? (int)(ANSWER_MS - age) : 0;
	int result = exchange->answered ? 1 : nftables_exchange_step(exchange, nftables->fd, waits || begun ? most : 0);
	if (result == 0 && nftables_exchange_age(exchange) < ANSWER_MS)
		return 0;
	if (result == 1)
		return 1;
	nftables_exchange_end(exchange);
	stop(nftables, true);
	return -EPIPE;
}

static int under_way(const struct nftables *nftables, const char *subject, struct error *error)
{
	unsigned seconds = (unsigned)(nftables_exchange_age(&nftables->exchange) / 1000);
	return error_set(error, -EINPROGRESS, "%s: nftables: no answer from its process or the kernel for %u s",
			 subject, seconds);
}

/* The answer, if there is one, is for a caller that comes again: meanwhile another one has its turn. */
static void keep(struct nftables *nftables)
{
	struct nftables_exchange *place = &nftables->kept[0];
	if (!nftables->exchange.answered || nftables_exchange_is_old(&nftables->exchange))
		return;
	for (size_t i = 0; i < KEPT; i++) {
		struct nftables_exchange *kept = &nftables->kept[i];
		if (nftables_exchange_is_old(kept))
			nftables_exchange_end(kept);
		if (kept->ended < place->ended)
			place = kept; /* the oldest one, or none: 0 */
	}
	nftables_exchange_end(place);
	*place = nftables->exchange;
	nftables->exchange = (struct nftables_exchange){0};
}

/* KEPT: there is none. */
static size_t find_kept(const struct nftables *nftables, const struct nftables_request *request, const char *payload)
{
	size_t i = 0;
	while (i < KEPT && (!nftables_exchange_is(&nftables->kept[i], request, payload) ||
			    nftables_exchange_is_old(&nftables->kept[i])))
		i++;
	return i;
}

/* Makes the request the one that is under way, if it is not. `*begun`: it is a new one. */
static int begin(struct nftables *nftables, const char *subject, const struct nftables_request *request,
		 const char *payload, bool *begun, struct error *error)
{
	struct nftables_exchange *exchange = &nftables->exchange;
	*begun = false;
	/* An answer that was not fetched says what was true then. */
	if (nftables_exchange_is(exchange, request, payload) && !nftables_exchange_is_old(exchange))
		return 0;
	/* The stream has one request at a time. */
	if (exchange->payload != NULL && advance(nftables, false) == 0)
		return under_way(nftables, subject, error);
	keep(nftables);
	if (request->operation == NFTABLES_LAY || request->operation == NFTABLES_REMOVE)
		forget_kept(nftables, request); /* they are of before */
	int result = nftables->fd < 0 ? start(nftables, error) : 0;
	if (result != 0)
		return error_prefix(error, result, "%s: ", subject);
	*begun = true;
	return nftables_exchange_begin(exchange, request, payload) == 0
		       ? 0
		       : error_set(error, -ENOMEM, "%s: nftables: out of memory", subject);
}

/* 0: the present exchange is this one, and answered; or a negative errno. */
static int exchange_now(struct nftables *nftables, const char *subject, const struct nftables_request *request,
			const char *payload, struct error *error)
{
	bool begun;
	int result = begin(nftables, subject, request, payload, &begun, error);
	if (result != 0)
		return result;
	result = advance(nftables, begun);
	if (result == 0)
		return under_way(nftables, subject, error);
	if (result < 0)
		return error_set(error, -ENOMEM, "%s: nftables: its process ended early, short of memory or of sockets",
				 subject);
	return 0;
}

/* 0 or more, with the answer in `*text` unless `text` is NULL; or a negative errno. */
static int call(struct nftables *nftables, const char *subject, struct nftables_request *request, const char *payload,
		char **text, struct error *error)
{
	request->length = (uint32_t)strlen(payload);
	size_t kept = find_kept(nftables, request, payload);
	int result = kept < KEPT ? 0 : exchange_now(nftables, subject, request, payload, error);
	if (result != 0)
		return result;
	struct nftables_exchange *exchange = kept < KEPT ? &nftables->kept[kept] : &nftables->exchange;
	result = exchange->answer.code;
	if (result < 0) {
		result = fail(error, subject, result, exchange->text);
	} else if (text != NULL) {
		*text = exchange->text;
		exchange->text = NULL;
	}
	nftables_exchange_end(exchange);
	return result;
}

int nftables_do_not_wait(struct nftables *nftables, int most_ms, struct error *error)
{
	if (nftables->epoll_fd < 0 && (nftables->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
		return error_set(error, -errno, "nftables: epoll: %s", strerror(errno));
	watch(nftables);
	nftables->wait_ms = most_ms;
	return 0;
}

void nftables_wait(struct nftables *nftables)
{
	nftables->wait_ms = ANSWER_MS;
}

int nftables_fd(const struct nftables *nftables)
{
	return nftables->epoll_fd;
}

unsigned nftables_starts(const struct nftables *nftables)
{
	return nftables->starts;
}

void nftables_poll(struct nftables *nftables)
{
	char byte;
	if (nftables->fd < 0)
		return;
	if (nftables->exchange.payload != NULL && !nftables->exchange.answered)
		(void)advance(nftables, false);
	else if (recv(nftables->fd, &byte, sizeof byte, MSG_DONTWAIT) >= 0)
		stop(nftables, true); /* it ended by itself, or says what was not requested */
}

static struct nftables_request request_for(enum nftables_operation operation, enum nftables_family family,
					   const char *name)
{
	struct nftables_request request = {.operation = operation, .family = family};
	(void)snprintf(request.name, sizeof request.name, "%s", name);
	return request;
}

int nftables_lay(struct nftables *nftables, const struct nftables_table *table, struct error *error)
{
	struct nftables_request request = request_for(NFTABLES_LAY, table->family, table->name);
	request.outlives = table->outlives;
	request.may_outlive = table->may_outlive;
	return call(nftables, table->subject, &request, table->commands, NULL, error);
}

static int check(struct nftables *nftables, enum nftables_family family, const char *name, struct error *error)
{
	struct nftables_request request = request_for(NFTABLES_CHECK, family, name);
	return call(nftables, name, &request, "", NULL, error);
}

int nftables_check(struct nftables *nftables, const char *name, struct error *error)
{
	return check(nftables, NFTABLES_INET, name, error);
}

int nftables_check_netdev(struct nftables *nftables, const char *name, struct error *error)
{
	return check(nftables, NFTABLES_NETDEV, name, error);
}

static int remove_table(struct nftables *nftables, const char *subject, enum nftables_family family, const char *name,
			struct error *error)
{
	struct nftables_request request = request_for(NFTABLES_REMOVE, family, name);
	int result = call(nftables, subject, &request, "", NULL, error);
	/* Its process ended, and another may not start: a table that may outlive it is there still. That may take as
	 * long as the kernel does, so only where it may be waited for. */
	if (result < 0 && !nftables_is_absent(result) && nftables->wait_ms == ANSWER_MS &&
	    nftables_process_remove(family, name) == 0)
		return 0;
	return nftables_is_absent(result) ? 0 : result;
}

int nftables_remove(struct nftables *nftables, const char *subject, const char *name, struct error *error)
{
	return remove_table(nftables, subject, NFTABLES_INET, name, error);
}

int nftables_remove_netdev(struct nftables *nftables, const char *subject, const char *name, struct error *error)
{
	return remove_table(nftables, subject, NFTABLES_NETDEV, name, error);
}

char *nftables_query(struct nftables *nftables, const char *subject, const char *commands, struct error *error)
{
	char *text = NULL;
	struct nftables_request request = request_for(NFTABLES_QUERY, NFTABLES_INET, "");
	int result = call(nftables, subject, &request, commands, &text, error);
	if (result < 0)
		errno = -result;
	return text;
}
