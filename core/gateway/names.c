// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/names.h"

#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "core/base/mailbox.h"
#include "core/host/launch.h"

struct names {
	pthread_t thread;
	sem_t wanted; /* a question is there, or the end */
	_Atomic bool ended;
	struct mailbox question, answer; /* struct names_answer, to be filled in; filled in */
	bool busy;			 /* control thread: a question was asked, and its answer not taken */
};

static void take_address(const struct sockaddr *from, struct in6_addr *address)
{
	if (from->sa_family == AF_INET6) {
		struct sockaddr_in6 ipv6;
		memcpy(&ipv6, from, sizeof ipv6);
		*address = ipv6.sin6_addr;
		return;
	}
	struct sockaddr_in ipv4;
	memcpy(&ipv4, from, sizeof ipv4);
	*address = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
	memcpy(&address->s6_addr[12], &ipv4.sin_addr, sizeof ipv4.sin_addr);
}

/* The first address, in the order of RFC 6724. */
static void resolve(struct names_answer *answer)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *list = NULL;
	int result = getaddrinfo(answer->name.host, NULL, &hints, &list);
	answer->failure = result != 0 ? gai_strerror(result) : "no address";
	for (const struct addrinfo *at = list; result == 0 && at != NULL; at = at->ai_next) {
		if (at->ai_family != AF_INET && at->ai_family != AF_INET6)
			continue;
		take_address(at->ai_addr, &answer->address);
		answer->failure = NULL;
		break;
	}
	if (list != NULL)
		freeaddrinfo(list);
}

static void *run(void *context)
{
	struct names *names = context;
	for (;;) {
		while (sem_wait(&names->wanted) != 0)
			; /* EINTR */
		if (atomic_load_explicit(&names->ended, memory_order_relaxed))
			break;
		struct names_answer *answer = mailbox_take(&names->question);
		if (answer == NULL)
			continue;
		resolve(answer);
		free(mailbox_post(&names->answer, answer));
	}
	return NULL;
}

static void discard(struct names *names)
{
	free(mailbox_deinit(&names->question));
	free(mailbox_deinit(&names->answer));
	(void)sem_destroy(&names->wanted);
	free(names);
}

struct names *names_new(const struct seccomp_filter *filter, struct error *error)
{
	struct names *names = calloc(1, sizeof *names);
	if (names == NULL) {
		error_set(error, -ENOMEM, "resolver thread: out of memory");
		return NULL;
	}
	(void)sem_init(&names->wanted, 0, 0); /* cannot fail with these arguments */
	int question = mailbox_init(&names->question), answer = mailbox_init(&names->answer);
	struct launch launch = {.name = "resolver", .filter = filter, .run = run, .context = names};
	int result = question == 0 && answer == 0 ? launch_thread(&launch, &names->thread, error)
						  : error_set(error, -errno, "resolver thread: %s", strerror(errno));
	if (result == 0)
		return names;
	discard(names);
	return NULL;
}

void names_free(struct names *names)
{
	if (names == NULL)
		return;
	atomic_store_explicit(&names->ended, true, memory_order_relaxed);
	(void)sem_post(&names->wanted);
	free(names_take(names));
	if (names->busy) {
		(void)pthread_detach(names->thread);
		return;
	}
	(void)pthread_join(names->thread, NULL);
	discard(names);
}

bool names_idle(const struct names *names)
{
	return !names->busy;
}

bool names_ask(struct names *names, const struct registry_name *name)
{
	struct names_answer *question = calloc(1, sizeof *question);
	if (question == NULL)
		return false;
	question->name = *name;
	names->busy = true;
	free(mailbox_post(&names->question, question));
	(void)sem_post(&names->wanted);
	return true;
}

struct names_answer *names_take(struct names *names)
{
	struct names_answer *answer = mailbox_take(&names->answer);
	names->busy = names->busy && answer == NULL;
	return answer;
}
