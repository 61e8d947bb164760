// SPDX-License-Identifier: Apache-2.0
#include "core/app/resolver.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/app/privileges.h"
#include "core/base/log.h"
#include "core/base/mailbox.h"

/* Shared by the control thread and, while a resolution is under way, its thread; the last one frees it. */
struct resolver {
	_Atomic unsigned references;
	atomic_bool busy;
	struct mailbox results;
	char port[6];
	char host[];
};

static void put(struct resolver *resolver)
{
	if (atomic_fetch_sub_explicit(&resolver->references, 1, memory_order_acq_rel) != 1)
		return;
	free(mailbox_deinit(&resolver->results));
	free(resolver);
}

struct resolver *resolver_new(const char *host, uint16_t port, struct error *error)
{
	size_t size = strlen(host) + 1;
	struct resolver *resolver = calloc(1, sizeof *resolver + size);
	if (resolver == NULL || mailbox_init(&resolver->results) != 0) {
		error_set(error, -ENOMEM, "resolver: %s", strerror(errno));
		free(resolver);
		return NULL;
	}
	atomic_init(&resolver->references, 1);
	snprintf(resolver->port, sizeof resolver->port, "%u", port);
	memcpy(resolver->host, host, size);
	return resolver;
}

void resolver_free(struct resolver *resolver)
{
	if (resolver != NULL)
		put(resolver);
}

static struct resolver_result *resolve(const struct resolver *resolver)
{
	struct resolver_result *result = calloc(1, sizeof *result);
	if (result == NULL)
		return NULL; /* the fd wakes the taker, who finds nothing */
	/* V4MAPPED and ALL: the list keeps the system's order of preference, with IPv4 addresses mapped. */
	struct addrinfo hints = {
		.ai_family = AF_INET6, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_V4MAPPED | AI_ALL | AI_NUMERICSERV};
	struct addrinfo *list;
	int failure = getaddrinfo(resolver->host, resolver->port, &hints, &list);
	if (failure != 0) {
		snprintf(result->failure, sizeof result->failure, "%s",
			 failure == EAI_SYSTEM ? strerror(errno) : gai_strerror(failure));
		return result;
	}
	for (const struct addrinfo *at = list; at != NULL && result->count < RESOLVER_ADDRESSES_MAX; at = at->ai_next)
		memcpy(&result->addresses[result->count++], at->ai_addr, sizeof result->addresses[0]);
	freeaddrinfo(list);
	return result;
}

static void *thread_main(void *argument)
{
	struct resolver *resolver = argument;
	/* It reads what anybody may have sent, by modules of libc's that nobody here knows. */
	if (privileges_drop_thread() != 0)
		log_warning("resolver: it keeps its capabilities: %s", strerror(errno));
	struct resolver_result *result = resolve(resolver);
	free(mailbox_post(&resolver->results, result));
	atomic_store_explicit(&resolver->busy, false, memory_order_release);
	put(resolver);
	return NULL;
}

int resolver_start(struct resolver *resolver)
{
	if (atomic_exchange_explicit(&resolver->busy, true, memory_order_acq_rel))
		return 0;
	pthread_attr_t attributes;
	pthread_t thread;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	atomic_fetch_add_explicit(&resolver->references, 1, memory_order_relaxed);
	int failure = pthread_create(&thread, &attributes, thread_main, resolver);
	pthread_attr_destroy(&attributes);
	if (failure != 0) {
		atomic_store_explicit(&resolver->busy, false, memory_order_release);
		put(resolver);
	}
	return -failure;
}

int resolver_fd(const struct resolver *resolver)
{
	return resolver->results.fd;
}

struct resolver_result *resolver_take(struct resolver *resolver)
{
	return mailbox_take(&resolver->results);
}
