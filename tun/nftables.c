// SPDX-License-Identifier: Apache-2.0
#include "tun/nftables.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tun/nftables_process.h"

enum {
	ANSWER_S = 30,		   /* enough for thousands of elements on a busy machine; then the process is killed */
	ANSWER_MAX = 64 * 1048576, /* of a query */
};

struct nftables {
	struct nftables_confine confine;
	int held; /* the caller's */
	int fd;	  /* -1: no process */
	pid_t pid;
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

static int start(struct nftables *nftables, struct error *error)
{
	int ends[2];
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
	return 0;
}

static void stop(struct nftables *nftables, bool at_once)
{
	if (nftables->fd < 0)
		return;
	close(nftables->fd);
	if (at_once)
		(void)kill(nftables->pid, SIGKILL);
	while (waitpid(nftables->pid, NULL, 0) < 0 && errno == EINTR)
		;
	nftables->fd = -1;
}

struct nftables *nftables_open(const struct nftables_confine *confine, int held, struct error *error)
{
	struct nftables *nftables = calloc(1, sizeof *nftables);
	if (nftables == NULL) {
		error_set(error, -ENOMEM, "nftables: out of memory");
		return NULL;
	}
	nftables->fd = -1;
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
	stop(nftables, false);
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

static bool answer_comes(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	int ready;
	do
		ready = poll(&polled, 1, ANSWER_S * 1000);
	while (ready < 0 && errno == EINTR);
	return ready > 0;
}

/* The text, to be freed by the caller; NULL: the process ended, or did not answer in time. */
static char *exchange(int fd, const struct nftables_request *request, const char *payload,
		      struct nftables_answer *answer)
{
	if (!nftables_send(fd, request, sizeof *request) || !nftables_send(fd, payload, request->length) ||
	    !answer_comes(fd) || !nftables_receive(fd, answer, sizeof *answer) || answer->length > ANSWER_MAX)
		return NULL;
	char *text = malloc((size_t)answer->length + 1);
	if (text != NULL && nftables_receive(fd, text, answer->length)) {
		text[answer->length] = '\0';
		return text;
	}
	free(text);
	return NULL;
}

/* 0 or more, with the answer in `*text` unless `text` is NULL; or a negative errno. */
static int call(struct nftables *nftables, const char *subject, struct nftables_request *request, const char *payload,
		char **text, struct error *error)
{
	struct nftables_answer answer = {0};
	request->length = (uint32_t)strlen(payload);
	int result = nftables->fd < 0 ? start(nftables, error) : 0;
	if (result != 0)
		return error_prefix(error, result, "%s: ", subject);
	char *said = exchange(nftables->fd, request, payload, &answer);
	if (said == NULL) {
		stop(nftables, true);
		return error_set(error, -ENOMEM, "%s: nftables: its process ended early, short of memory or of sockets",
				 subject);
	}
	result = answer.code >= 0 ? answer.code : fail(error, subject, answer.code, said);
	if (text != NULL && answer.code >= 0)
		*text = said;
	else
		free(said);
	return result;
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
	/* Its process ended, and another may not start: a table that may outlive it is there still. */
	if (result < 0 && !nftables_is_absent(result) && nftables_process_remove(family, name) == 0)
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
